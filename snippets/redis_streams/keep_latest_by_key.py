"""Keep the latest value of each key in a hash, and its changes in a stream.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.keep_latest_by_key import latest, put

    with connect() as redis, temporary_stream(redis) as changes:
        stock = f"{changes}:latest"
        for sku, count in (("tea", "7"), ("milk", "2"), ("tea", "6"), ("milk", None)):
            put(redis, changes, stock, sku, count)
        values, position = latest(redis, changes, stock)
        print(values, redis.xlen(changes))
        #> {'tea': '6'} 4
        redis.delete(stock)
    ```
"""

# --8<-- [start:imports]
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:put]
def put(redis: Redis, stream: str, table: str, key: str, value: str | None) -> str:
    """Set a key's value, or remove the key, in the table and as an entry of the stream.

    Both happen or none does, whatever becomes of this client: the table is always what
    all changes add up to.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The key of the stream of changes.
        table: The key of the hash of latest values. On a cluster both keys are of one
            slot, such as `{stock}:changes` and `{stock}:latest`.
        key: What changes, not empty.
        value: The new value, or None to remove the key.

    Returns:
        The ID of the change, an entry with the fields `key` and `value`, or `key` alone.

    Raises:
        ValueError: The key is empty; nothing is sent.
        redis.ResponseError: One of the two holds something else. The other is changed
            all the same: a transaction goes on after an error.
        redis.ConnectionError: The reply is lost: whether both or none is done is unknown.

    Source:
        https://redis.io/docs/latest/develop/using-commands/transactions/
    """
    if not key:
        raise ValueError("a change needs a key")
    with redis.pipeline(transaction=True) as transaction:
        if value is None:
            transaction.xadd(stream, {"key": key})
            transaction.hdel(table, key)
        else:
            transaction.xadd(stream, {"key": key, "value": value})
            transaction.hset(table, key, value)
        return str(transaction.execute()[0])


# --8<-- [end:put]


# --8<-- [start:latest]
def latest(redis: Redis, stream: str, table: str) -> tuple[dict[str, str], str]:
    """Read all latest values, and the position from which changes go on.

    The two belong together: what `XREAD` returns after the position is what the values
    don't have yet, without a gap.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The key of the stream of changes.
        table: The key of the hash of latest values.

    Returns:
        The values by key, and the ID of the last change they have.

    Raises:
        redis.ResponseError: One of the two holds something else.

    Source:
        https://redis.io/docs/latest/develop/using-commands/transactions/
    """
    with redis.pipeline(transaction=True) as transaction:
        transaction.hgetall(table)
        transaction.xrevrange(stream, count=1)
        answers: Any = transaction.execute()
    values, last = answers
    return values, last[0][0] if last else "0-0"


# --8<-- [end:latest]


# --8<-- [start:compact]
def compact(redis: Redis, stream: str, max_changes: int) -> int:
    """Let go of old changes, whose result is in the table.

    A reader that is further behind than this has to start from `latest` again, and is
    not told so.

    Args:
        redis: The client.
        stream: The key of the stream of changes.
        max_changes: How many changes to keep, at least one: the last one's ID is the
            position that `latest` returns.

    Returns:
        How many changes are gone: whole nodes only, of 100 by default.

    Raises:
        ValueError: The bound is not positive; nothing is sent.

    Source:
        https://redis.io/docs/latest/commands/xtrim/
    """
    if max_changes < 1:
        raise ValueError(f"{max_changes} changes are too few to keep")
    gone: Any = redis.xtrim(stream, maxlen=max_changes, approximate=True)
    return int(gone)


# --8<-- [end:compact]


def demo() -> None:
    """Change a stock, start a reader from the latest values, and let it follow."""
    with connect() as redis, temporary_stream(redis) as changes:
        stock = f"{changes}:latest"
        for sku, count in (("tea", "7"), ("milk", "2"), ("tea", "6"), ("milk", None)):
            put(redis, changes, stock, sku, count)
            print(f"{sku} is {count}")
        values, position = latest(redis, changes, stock)
        print(f"latest values {values}, up to {position}")
        put(redis, changes, stock, "tea", "5")
        ((_, entries),) = redis.xread({changes: position})
        print(f"changes since: {[change for _, change in entries]}")
        for number in range(500):
            put(redis, changes, stock, "tea", str(number))
        print(f"after 500 more there are {redis.xlen(changes)} changes")
        print(f"{compact(redis, changes, max_changes=100)} are let go")
        print(f"latest values {latest(redis, changes, stock)[0]}")
        redis.delete(stock)


if __name__ == "__main__":
    demo()
