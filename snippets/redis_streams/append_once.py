"""Append an event once, however often its append is sent.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.append_once import append_once

    with connect() as redis, temporary_stream(redis) as orders:
        append = (redis, orders, {"sku": "tea"}, "shop")
        print(append_once(*append, "order-7") == append_once(*append, "order-7"))
        #> True
        append_once(*append, "order-8")
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


# --8<-- [start:append_once]
def append_once(
    redis: Redis, stream: str, event: Mapping[str, str], producer: str, event_id: str
) -> str:
    """Append an event, unless this producer has appended one with the same ID before.

    The stream remembers the last 100 IDs of a producer for 100 seconds, unless `XCFGSET`
    says otherwise. Within that, you and the client may send it as often as you like.

    Args:
        redis: A client with `decode_responses=True`; it may retry.
        stream: The stream's key; it is created if there is none.
        event: Field names and values, at least one. A second one with the same ID is not
            compared, and not stored.
        producer: The producer's name, which lasts over restarts.
        event_id: What identifies the event, such as the order's number; not its attempt.

    Returns:
        The ID of the entry that was stored first, even if it has been deleted since.

    Raises:
        ValueError: `producer` or `event_id` is empty; nothing is sent.
        redis.DataError: The event has no fields; nothing is sent.
        redis.ResponseError: The server refuses the entry, or is older than 8.6.
        redis.ConnectionError: The reply is lost, the retries too. Call again: if the
            entry is stored, you get its ID.
        redis.TimeoutError: As `ConnectionError`.

    Source:
        https://redis.io/docs/latest/develop/data-types/streams/idempotency/
    """
    if not producer or not event_id:
        raise ValueError("the producer and the event need a name each")
    fields: dict[Any, Any] = dict(event)
    return str(redis.xadd(stream, fields, idmp=(producer, event_id.encode())))


# --8<-- [end:append_once]


def demo() -> None:
    """Append twice without an ID and twice with one, and show where memory ends."""
    with connect() as redis, temporary_stream(redis) as orders:
        for attempt in (1, 2):
            entry_id = redis.xadd(orders, {"order": "6"})
            print(f"order 6, attempt {attempt}, plain XADD: {entry_id}")
        for attempt in (1, 2):
            entry_id = append_once(redis, orders, {"order": "7"}, "shop", "order-7")
            print(f"order 7, attempt {attempt}, with its ID: {entry_id}")
        info = redis.xinfo_stream(orders)
        print(f"entries {info['length']}, refused copies {info['iids-duplicates']}")
        window = f"{info['idmp-maxsize']} IDs, {info['idmp-duration']} seconds"
        print(f"a producer's memory: {window}")
        for number in range(100):
            append_once(redis, orders, {"order": "x"}, "shop", f"later-{number}")
        entry_id = append_once(redis, orders, {"order": "7"}, "shop", "order-7")
        print(f"order 7 again, after 100 others: {entry_id}")


if __name__ == "__main__":
    demo()
