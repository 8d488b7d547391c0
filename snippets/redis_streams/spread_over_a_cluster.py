"""Spread a log over the nodes of a cluster, and keep the order of each key.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.spread_over_a_cluster import append_to_shard

    with connect() as redis, temporary_stream(redis) as orders:
        shard, _ = append_to_shard(redis, orders, "ann", {"sku": "tea"}, shards=4)
        same, _ = append_to_shard(redis, orders, "ann", {"sku": "milk"}, shards=4)
        print(shard == same, redis.xlen(shard))
        #> True 2
        redis.delete(shard)
    ```
"""

# --8<-- [start:imports]
from binascii import crc32
from collections.abc import Mapping
from typing import Any

from redis import Redis, RedisCluster

# --8<-- [end:imports]
# isort: split
from redis.crc import key_slot

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:append_to_shard]
def append_to_shard(
    redis: Redis | RedisCluster,
    stream: str,
    key: str,
    event: Mapping[str, str],
    shards: int,
) -> tuple[str, str]:
    """Append an event to the one of several streams that its key belongs to.

    Entries of one key go to one stream, in order. The streams' hash tags put them into
    slots of their own, which a cluster may keep on different nodes.

    Args:
        redis: A client with `decode_responses=True`, of a cluster or of one server. A
            `RedisCluster` with its default `retry` repeats a command whose reply it
            misses, and may append twice.
        stream: What the streams' names begin with; no braces.
        key: What the order is kept for, such as a customer.
        event: Field names and values, at least one.
        shards: How many streams there are. With another number a key may belong to
            another stream, so choose it once.

    Returns:
        The stream's key, such as `orders:{2}`, and the entry's ID.

    Raises:
        ValueError: There is no shard, or `stream` has a brace; nothing is sent.
        redis.DataError: The event has no fields; nothing is sent.
        redis.exceptions.ClusterDownError: The node of this stream is gone, or by default
            any node, and no replica has taken over; nothing is appended.
        redis.RedisError: As for `XADD` on one stream.

    Source:
        https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    if shards < 1 or "{" in stream:
        raise ValueError(f"{shards} shards of {stream}")
    shard = f"{stream}:{{{crc32(key.encode()) % shards}}}"
    fields: dict[Any, Any] = dict(event)
    return shard, str(redis.xadd(shard, fields))


# --8<-- [end:append_to_shard]


# --8<-- [start:locate]
def locate(redis: RedisCluster, stream: str, shards: int) -> dict[str, str]:
    """Tell which node has each stream: it takes the writes, and by default the reads.

    Args:
        redis: A client of the cluster. It tells what it has learned at its start, or
            since then from a node that sent it elsewhere.
        stream: What the streams' names begin with.
        shards: How many streams there are.

    Returns:
        The address of the master, `host:port`, by stream.

    Raises:
        redis.exceptions.SlotNotCoveredError: A stream's slot has no node.

    Source:
        https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
    """
    client: Any = redis  # redis-py gives the method below no types
    names = [f"{stream}:{{{number}}}" for number in range(shards)]
    return {name: client.get_node_from_key(name).name for name in names}


# --8<-- [end:locate]


def demo() -> None:
    """Spread the orders of four customers over three streams, and read each of them."""
    shards = 3
    with connect() as redis, temporary_stream(redis) as orders:
        names = [f"{orders}:{{{number}}}" for number in range(shards)]
        try:
            for customer in ("ann", "bob", "cleo", "dan", "ann"):
                event = {"customer": customer}
                shard, _ = append_to_shard(redis, orders, customer, event, shards)
                print(f"{customer}'s order is in {shard.replace(orders, 'orders')}")
            for shard in names:
                entries = [event["customer"] for _, event in redis.xrange(shard)]
                slot = key_slot(shard.encode())
                print(f"{shard.replace(orders, 'orders')}, slot {slot}: {entries}")
        finally:
            redis.delete(*names)


if __name__ == "__main__":
    demo()
