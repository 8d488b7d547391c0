"""Append to several streams in one step: all of it is there, or nothing.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.append_atomically import append_atomically

    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as stock,
    ):
        ids = append_atomically(redis, [(orders, {"sku": "tea"}), (stock, {"tea": "-1"})])
        print(len(ids), redis.xlen(orders), redis.xlen(stock))
        #> 2 1 1
    ```
"""

# --8<-- [start:imports]
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from redis import ResponseError

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:append_atomically]
def append_atomically(
    redis: Redis, events: Sequence[tuple[str, Mapping[str, str]]]
) -> list[str]:
    """Append events to streams of one slot, in one transaction.

    No reader sees some of them without the others. Redis undoes nothing: so what could
    fail inside of the transaction is looked up before it.

    Args:
        redis: A client with `decode_responses=True` that repeats nothing.
        events: A stream's key and an event for each entry. In a cluster the keys need the
            same hash tag, as in `{shop}:orders` and `{shop}:stock`.

    Returns:
        The entries' IDs, in the same order.

    Raises:
        ValueError: There are no events, or one has no fields; nothing is stored.
        TypeError: A key holds something that is not a stream; nothing is stored.
        redis.ResponseError: The server refuses a command (out of memory, two slots);
            nothing is stored. Only if a key became something else since it was looked
            up, the other entries are.
        redis.ConnectionError: The reply is lost: all is stored, or nothing.
        redis.TimeoutError: As `ConnectionError`.

    Source:
        https://redis.io/docs/latest/develop/using-commands/transactions/
    """
    if not events or not all(event for _, event in events):
        raise ValueError("there must be an event, and each needs a field")
    for stream in {stream for stream, _ in events}:
        kind: Any = redis.type(stream)
        if kind not in ("stream", "none"):
            raise TypeError(f"{stream} holds a {kind}, not a stream")
    with redis.pipeline(transaction=True) as transaction:
        for stream, event in events:
            fields: dict[Any, Any] = dict(event)
            transaction.xadd(stream, fields)
        return [str(entry_id) for entry_id in transaction.execute()]


# --8<-- [end:append_atomically]


def demo() -> None:
    """Append to two streams, and then where the second key holds something else."""
    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as stock,
    ):
        events = [(orders, {"sku": "tea"}), (stock, {"tea": "-1"})]
        for entry_id in append_atomically(redis, events):
            print(f"stored as {entry_id}")
        print(f"orders {redis.xlen(orders)}, stock {redis.xlen(stock)}")
        redis.delete(stock)
        redis.set(stock, "text")
        print("somebody puts a text where the stock was")
        try:
            append_atomically(redis, events)
        except TypeError as error:
            print(f"append_atomically: the key {str(error).partition(' ')[2]}")
        print(f"orders {redis.xlen(orders)}")
        with redis.pipeline(transaction=True) as transaction:
            for stream, event in events:
                transaction.xadd(stream, event)
            try:
                transaction.execute()
            except ResponseError:
                print("MULTI without looking: an error as well")
        print(f"orders {redis.xlen(orders)}: half of it was done")


if __name__ == "__main__":
    demo()
