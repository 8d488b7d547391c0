"""Follow the new entries of a stream, and miss none between two calls.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.tail import start, tail

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        last = start(redis, orders)
        redis.xadd(orders, {"sku": "milk"})
        for entry_id, event in tail(redis, orders, last):
            print(event)
            #> {'sku': 'milk'}
            last = entry_id
        print(tail(redis, orders, last, block_ms=10))
        #> []
    ```
"""

# --8<-- [start:imports]
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:start]
def start(redis: Redis, stream: str) -> str:
    """Return the ID after which everything is new from now on.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; it need not be there yet.

    Returns:
        The newest entry's ID; `0-0` if there is none.

    Raises:
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xrevrange/
    """
    newest: Any = redis.xrevrange(stream, count=1)
    return str(newest[0][0]) if newest else "0-0"


# --8<-- [end:start]


# --8<-- [start:tail]
def tail(
    redis: Redis, stream: str, after: str, block_ms: int = 1000, count: int = 100
) -> list[tuple[str, dict[str, str]]]:
    """Return the entries after an ID; wait for the first if there is none yet.

    Whatever arrives between two calls is in the second, as long as each call gets the
    last ID of the one before, and nobody trims that fast.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; it need not be there yet.
        after: The last ID seen; not `$`, which would be a new place at each call.
        block_ms: How many milliseconds to wait; less than the client's
            `socket_timeout`, by default 5 seconds, or else the wait ends in an error.
        count: How many entries to return at the most.

    Returns:
        Each entry's ID and event, oldest first; empty if none has come in time.

    Raises:
        ValueError: `after` is `$`, or a number is smaller than 1: Redis would wait
            without an end.
        redis.ResponseError: The ID is not one, or the key holds something else.
        redis.TimeoutError: `block_ms` exceeds the client's `socket_timeout`.

    Source:
        https://redis.io/docs/latest/commands/xread/
    """
    if after == "$" or block_ms < 1 or count < 1:
        raise ValueError(f"can't follow {count} from {after} for {block_ms} ms")
    batch: Any = redis.xread({stream: after}, count=count, block=block_ms)
    return [entry for _, entries in batch for entry in entries]


# --8<-- [end:tail]


def demo() -> None:
    """Follow a stream, with entries that arrive between the calls; then with `$`."""
    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        last = start(redis, orders)
        print(f"tea is there; start after {last}")
        redis.xadd(orders, {"sku": "milk"})
        print("milk arrives before the first call")
        for entry_id, event in tail(redis, orders, last):
            print(entry_id, event)
            last = entry_id
        for sku in ("rice", "salt"):
            redis.xadd(orders, {"sku": sku})
        print("rice and salt arrive between two calls")
        for entry_id, event in tail(redis, orders, last):
            print(entry_id, event)
            last = entry_id
        print(f"nothing within 50 ms: {tail(redis, orders, last, block_ms=50)}")
        redis.xadd(orders, {"sku": "soap"})
        print("soap arrives between two calls")
        missed = redis.xread({orders: "$"}, block=50)
        print(f"XREAD from $: {missed}; from the last ID:")
        for entry_id, event in tail(redis, orders, last):
            print(entry_id, event)


if __name__ == "__main__":
    demo()
