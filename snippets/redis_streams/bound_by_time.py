"""Keep a stream's last hour, or day: bound it by the age of its entries.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.bound_by_time import bound_by_time, delete_before

    with connect() as redis, temporary_stream(redis) as orders:
        for number in range(250):
            redis.xadd(orders, {"order": str(number)}, id=f"1700000000000-{number + 1}")
        bound_by_time(redis, orders, {"order": "250"}, max_age_ms=3_600_000)
        print(redis.xlen(orders))
        #> 51
        print(delete_before(redis, orders, moment_ms=1_700_000_000_001))
        #> 50
    ```
"""

# --8<-- [start:imports]
from collections.abc import Mapping
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:bound_by_time]
def bound_by_time(
    redis: Redis, stream: str, event: Mapping[str, str], max_age_ms: int
) -> str:
    """Append an event, and let go of those that are older than it by more than the bound.

    The age is the difference of two IDs, by the server's clock; the caller's clock has
    no say. Up to a node of older entries may stay: 100 with the server's default. While
    nobody appends, nothing goes.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; it is created if there is none. Its IDs are times, as
            the server makes them.
        event: Field names and values, at least one.
        max_age_ms: How many milliseconds to keep an entry, at least one.

    Returns:
        The new entry's ID.

    Raises:
        ValueError: The bound is not positive; nothing is sent.
        redis.DataError: The event has no fields; nothing is sent.
        redis.ResponseError: The server refuses the entry, as where the key holds
            something that is not a stream.
        redis.ConnectionError: The reply is lost: whether the entry is stored, and older
            ones are gone, is unknown. The next call makes up for what was not trimmed.

    Source:
        https://redis.io/docs/latest/commands/xtrim/
    """
    if max_age_ms < 1:
        raise ValueError(f"a stream can't be bounded to {max_age_ms} ms")
    fields: dict[Any, Any] = dict(event)
    entry_id = str(redis.xadd(stream, fields))
    oldest_ms = int(entry_id.partition("-")[0]) - max_age_ms
    redis.xtrim(stream, minid=str(max(oldest_ms, 0)), approximate=True)
    return entry_id


# --8<-- [end:bound_by_time]


# --8<-- [start:delete_before]
def delete_before(redis: Redis, stream: str, moment_ms: int) -> int:
    """Let go of all entries from before a moment, exactly and now.

    Args:
        redis: The client.
        stream: The stream's key.
        moment_ms: Milliseconds since 1970, by the server's clock.

    Returns:
        How many entries are gone; 0 if there is no such stream.

    Raises:
        ValueError: The moment is negative; nothing is sent.
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xtrim/
    """
    if moment_ms < 0:
        raise ValueError(f"{moment_ms} is no moment")
    gone: Any = redis.xtrim(stream, minid=str(moment_ms), approximate=False)
    return int(gone)


# --8<-- [end:delete_before]


def demo() -> None:
    """Append to 250 old entries, see what an approximate bound leaves, and delete it."""
    hour_ms = 3_600_000
    with connect() as redis, temporary_stream(redis) as orders:
        for number in range(250):
            redis.xadd(orders, {"order": str(number)}, id=f"1700000000000-{number + 1}")
        print(f"{redis.xlen(orders)} orders of long ago: no timer ever takes them")
        bound_by_time(redis, orders, {"order": "250"}, max_age_ms=hour_ms)
        print(
            f"order 250 keeps one hour: {redis.xlen(orders)} are left, 200 were in nodes"
        )
        ((first_id, event),) = redis.xrange(orders, count=1)
        print(f"the first is {first_id} {event}")
        gone = delete_before(redis, orders, moment_ms=1_700_000_000_001)
        print(f"deleting exactly takes {gone}")
        print(f"left: {[event for _, event in redis.xrange(orders)]}")


if __name__ == "__main__":
    demo()
