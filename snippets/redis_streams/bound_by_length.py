"""Keep a stream from growing: bound it by its number of entries.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.bound_by_length import bound_by_length, trim_to_length

    with connect() as redis, temporary_stream(redis) as orders:
        for number in range(1000):
            bound_by_length(redis, orders, {"order": str(number)}, max_entries=300)
        print(redis.xlen(orders))
        #> 300
        print(trim_to_length(redis, orders, max_entries=10))
        #> 290
    ```
"""

# --8<-- [start:imports]
from collections.abc import Mapping
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:bound_by_length]
def bound_by_length(
    redis: Redis, stream: str, event: Mapping[str, str], max_entries: int
) -> str:
    """Append an event, and let go of the oldest ones beyond the bound.

    The stream holds at least the newest `max_entries`, and up to a node more: 100 with
    the server's default. Nobody is asked whether the oldest ones have been read.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; it is created if there is none.
        event: Field names and values, at least one.
        max_entries: How many entries to keep, at least one.

    Returns:
        The new entry's ID.

    Raises:
        ValueError: The bound is not positive; nothing is sent.
        redis.DataError: The event has no fields; nothing is sent.
        redis.ResponseError: The server refuses the entry, as where the key holds
            something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xadd/
    """
    if max_entries < 1:
        raise ValueError(f"a stream can't be bounded to {max_entries} entries")
    fields: dict[Any, Any] = dict(event)
    return str(redis.xadd(stream, fields, maxlen=max_entries, approximate=True))


# --8<-- [end:bound_by_length]


# --8<-- [start:trim_to_length]
def trim_to_length(redis: Redis, stream: str, max_entries: int) -> int:
    """Let go of all but the newest entries, exactly and now.

    Args:
        redis: The client.
        stream: The stream's key.
        max_entries: How many entries to keep, at least one.

    Returns:
        How many entries are gone; 0 if there is no such stream.

    Raises:
        ValueError: The bound is not positive; nothing is sent.
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xtrim/
    """
    if max_entries < 1:
        raise ValueError(f"a stream can't be bounded to {max_entries} entries")
    gone: Any = redis.xtrim(stream, maxlen=max_entries, approximate=False)
    return int(gone)


# --8<-- [end:trim_to_length]


def demo() -> None:
    """Append past a bound that a slow group has not read up to, then trim exactly."""
    with connect() as redis, temporary_stream(redis) as orders:
        for number in range(5):
            redis.xadd(orders, {"order": str(number)})
        redis.xgroup_create(orders, "billing", id="0")
        redis.xreadgroup("billing", "worker-1", {orders: ">"}, count=2)
        print("billing takes orders 0 and 1 of 5, and stalls")
        for number in range(5, 1000):
            bound_by_length(redis, orders, {"order": str(number)}, max_entries=10)
        print(f"995 more under an approximate bound of 10: {redis.xlen(orders)} are left")
        gone = trim_to_length(redis, orders, max_entries=10)
        print(f"an exact trim takes {gone}: {redis.xlen(orders)} are left")
        ((_, entries),) = redis.xreadgroup("billing", "worker-1", {orders: ">"})
        print(f"billing reads on, and gets orders from {entries[0][1]['order']} on")
        ((_, entries),) = redis.xreadgroup("billing", "worker-1", {orders: "0"}, count=2)
        print(f"billing asks for what it took: {[event for _, event in entries]}")


if __name__ == "__main__":
    demo()
