"""Read a stream again from a clock time, or let a group do so.

Example:
    ```py
    from datetime import UTC, datetime, timedelta

    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.replay_from_time import replay_from_time

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        now = datetime.now(tz=UTC)
        print(list(replay_from_time(redis, orders, now - timedelta(hours=1))))
        #> [{'sku': 'tea'}]
        print(list(replay_from_time(redis, orders, now + timedelta(hours=1))))
        #> []
    ```
"""

# --8<-- [start:imports]
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:replay_from_time]
def replay_from_time(
    redis: Redis, stream: str, since: datetime, page: int = 100
) -> Iterator[dict[str, str]]:
    """Yield what was appended since then, up to what is there now; no group notices.

    The time of an entry is the server's when it was appended, unless the client chose
    the ID.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; one that isn't there has no entries.
        since: A time with a time zone, to the millisecond.
        page: How many entries to fetch at a time.

    Yields:
        The events, oldest first. Entries that were trimmed are left out.

    Raises:
        TypeError: The time has no time zone.
        ValueError: The page is smaller than 1.
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xrange/#incomplete-ids
    """
    if page < 1:
        raise ValueError(f"a page of {page} entries is none")
    age = since - datetime.fromtimestamp(0, tz=UTC)
    # A millisecond alone stands for its first ID here.
    first = str(max(0, age // timedelta(milliseconds=1)))
    newest: Any = redis.xrevrange(stream, min=first, count=1)
    entries: Any = newest and redis.xrange(stream, first, newest[0][0], count=page)
    while entries:
        for _, event in entries:
            yield event
        entries = redis.xrange(stream, f"({entries[-1][0]}", newest[0][0], count=page)


# --8<-- [end:replay_from_time]


# --8<-- [start:move_group]
def move_group(redis: Redis, stream: str, group: str, since: datetime) -> None:
    """Let a group get again, or skip to, what was appended since then.

    It applies to the next read, and consumers may go on; one that is waiting in
    a read notices only after it. What is pending stays so.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        since: A time with a time zone, to the millisecond.

    Raises:
        TypeError: The time has no time zone.
        redis.ResponseError: There is no such stream or group.

    Source:
        https://redis.io/docs/latest/commands/xgroup-setid/
    """
    age = since - datetime.fromtimestamp(0, tz=UTC)
    since_ms = age // timedelta(milliseconds=1)
    # The ID counts as delivered, so it is the last one of the millisecond before.
    before = f"{since_ms - 1}-{2**64 - 1}" if since_ms > 0 else "0-0"
    redis.xgroup_setid(stream, group, before)


# --8<-- [end:move_group]


def demo() -> None:
    """Replay the last of three entries, for a reader and then for a group."""
    began = datetime.now(tz=UTC).replace(microsecond=0) - timedelta(hours=1)
    with connect() as redis, temporary_stream(redis) as orders:
        for minute in (0, 10, 20):
            at = began + timedelta(minutes=minute)
            entry_id = f"{int(at.timestamp() * 1000)}-0"
            redis.xadd(orders, {"minute": str(minute)}, id=entry_id)
        print("entries of minute 0, 10 and 20")
        for minute in (10, 30):
            since = began + timedelta(minutes=minute)
            events = list(replay_from_time(redis, orders, since))
            print(f"since minute {minute}: {events}")
        redis.xgroup_create(orders, "billing", id="0")
        for minute in (10, 20):
            batch: Any = redis.xreadgroup("billing", "worker-1", {orders: ">"})
            print(f"billing reads {[event for _, event in batch[0][1]]}")
            move_group(redis, orders, "billing", began + timedelta(minutes=minute))
            print(f"billing is moved to minute {minute}")
        batch = redis.xreadgroup("billing", "worker-1", {orders: ">"})
        print(f"billing reads {[event for _, event in batch[0][1]]}")


if __name__ == "__main__":
    demo()
