"""A real Redis and a real Kafka, for as long as a `with` block lasts.

There are three ways to get one: local processes, containers, or servers that you
already run. `SERVERS` forces a way; without it, an address in `REDIS_URL` or
`KAFKA_BOOTSTRAP_SERVERS` means yours, a container engine that answers means containers,
and local processes are the rest.

A way that can't work raises `ServersError`. It never falls back to another one.
"""

from snippets.servers.choice import Way, choose, kafka, redis
from snippets.servers.errors import ServersError
from snippets.servers.interface import Kafka, Node, Redis

__all__ = ["Kafka", "Node", "Redis", "ServersError", "Way", "choose", "kafka", "redis"]
