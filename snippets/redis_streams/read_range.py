"""Read a part of a stream in pages, oldest or newest first, without a group.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.read_range import read_latest, read_range

    with connect() as redis, temporary_stream(redis) as orders:
        ids = [redis.xadd(orders, {"order": str(number)}) for number in range(4)]
        print([event for _, event in read_range(redis, orders, ids[1], ids[2], page=1)])
        #> [{'order': '1'}, {'order': '2'}]
        print([event for _, event in read_latest(redis, orders, 2)])
        #> [{'order': '3'}, {'order': '2'}]
    ```
"""

# --8<-- [start:imports]
from collections.abc import Iterator
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:read_range]
def read_range(
    redis: Redis, stream: str, first: str = "-", last: str = "+", page: int = 100
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the entries between two IDs, oldest first, a page at a time.

    It ends with what the stream holds when it begins, however fast others append, and
    yields no entry twice.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; one that isn't there has no entries.
        first: The ID to begin with, `-` for the oldest; `(` before it leaves it out.
        last: The ID to end with, `+` for the newest; `(` before it leaves it out.
        page: How many entries to fetch at a time.

    Yields:
        Each entry's ID and event. Entries that were trimmed are left out.

    Raises:
        ValueError: The page is smaller than 1.
        redis.ResponseError: An ID is not one, or the key holds something else.

    Source:
        https://redis.io/docs/latest/commands/xrange/
    """
    if page < 1:
        raise ValueError(f"a page of {page} entries is none")
    newest: Any = redis.xrevrange(stream, max=last, min=first, count=1)
    entries: Any = newest and redis.xrange(stream, first, newest[0][0], count=page)
    while entries:
        yield from entries
        entries = redis.xrange(stream, f"({entries[-1][0]}", newest[0][0], count=page)


# --8<-- [end:read_range]


# --8<-- [start:read_latest]
def read_latest(
    redis: Redis, stream: str, count: int
) -> list[tuple[str, dict[str, str]]]:
    """Return the last entries, newest first.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; one that isn't there has no entries.
        count: How many entries to return at the most.

    Returns:
        Each entry's ID and event.

    Raises:
        ValueError: The count is smaller than 1.
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xrevrange/
    """
    if count < 1:
        raise ValueError(f"the last {count} entries are none")
    entries: Any = redis.xrevrange(stream, count=count)
    return list(entries)


# --8<-- [end:read_latest]


def demo() -> None:
    """Read five entries in pages while a sixth arrives, then a part, then the last."""
    with connect() as redis, temporary_stream(redis) as orders:
        ids = [str(redis.xadd(orders, {"order": str(number)})) for number in range(5)]
        print("all of it, two at a time, while one more is appended:")
        for entry_id, event in read_range(redis, orders, page=2):
            print(entry_id, event)
            if event["order"] == "0":
                redis.xadd(orders, {"order": "5"})
        print("after order 1, up to order 3:")
        for entry_id, event in read_range(redis, orders, f"({ids[1]}", ids[3]):
            print(entry_id, event)
        print("the last two, newest first:")
        for entry_id, event in read_latest(redis, orders, 2):
            print(entry_id, event)


if __name__ == "__main__":
    demo()
