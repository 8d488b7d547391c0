"""Append an event to a stream, and learn where it landed.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.append import append

    with connect() as redis, temporary_stream(redis) as orders:
        print(append(redis, orders, {"sku": "tea", "quantity": "2"}))
        #> 1700000000001-0
        append(redis, orders, {"sku": "milk", "quantity": "1"})
        print(redis.xlen(orders))
        #> 2
    ```
"""

# --8<-- [start:imports]
from collections.abc import Mapping
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:append]
def append(redis: Redis, stream: str, event: Mapping[str, str]) -> str:
    """Append an event to a stream as one entry.

    The reply means that the primary has the entry in memory. What is on disk, or on a
    replica, by then depends on `appendfsync`, `WAIT` and `WAITAOF`.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; it is created if there is none.
        event: Field names and values, at least one.

    Returns:
        The entry's ID, `<milliseconds>-<sequence>`, greater than all before it.

    Raises:
        redis.DataError: The event has no fields; nothing is sent.
        redis.ResponseError: The server refuses the entry, for want of memory for example.
        redis.ConnectionError: The reply is lost: whether the entry is stored is unknown.
        redis.TimeoutError: As `ConnectionError`.

    Source:
        https://redis.io/docs/latest/commands/xadd/
    """
    fields: dict[Any, Any] = dict(event)
    return str(redis.xadd(stream, fields))


# --8<-- [end:append]


def demo() -> None:
    """Append three events, and read back what the stream holds."""
    with connect() as redis, temporary_stream(redis) as orders:
        for sku in ("tea", "milk", "jam"):
            entry_id = append(redis, orders, {"sku": sku, "quantity": "1"})
            print(f"{sku} is entry {entry_id}")
        for entry_id, event in redis.xrange(orders):
            print(entry_id, event)


if __name__ == "__main__":
    demo()
