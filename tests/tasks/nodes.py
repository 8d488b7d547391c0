"""The nodes of a Redis Cluster, one by one."""

from typing import Any

from redis import Redis


def node_of(cluster: Any, key: str) -> Redis:
    """Return a client of the node that has a key's slot, and of no other node."""
    node: Redis = cluster.get_redis_connection(cluster.get_node_from_key(key))
    return node
