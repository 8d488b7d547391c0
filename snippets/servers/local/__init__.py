"""Servers as processes of this machine, built or fetched once and kept in the cache."""

from snippets.servers.local.kafka import kafka
from snippets.servers.local.redis import redis

__all__ = ["kafka", "redis"]
