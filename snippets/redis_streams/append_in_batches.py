"""Append many events in few round trips, and learn what became of each.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.append_in_batches import append_in_batches

    with connect() as redis, temporary_stream(redis) as orders:
        events = [{"order": str(number)} for number in range(1000)]
        results = append_in_batches(redis, orders, events)
        print(len(results), all(isinstance(each, str) for each in results))
        #> 1000 True
    ```
"""

# --8<-- [start:imports]
from collections.abc import Mapping, Sequence
from typing import Any

from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisError
from redis import TimeoutError as RedisTimeoutError

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:append_in_batches]
def append_in_batches(
    redis: Redis, stream: str, events: Sequence[Mapping[str, str]], batch_size: int = 500
) -> list[str | RedisError]:
    """Append events in their order, a batch a round trip; one that fails stops no other.

    A batch is a pipeline, not a transaction: other clients' entries may come between.

    Args:
        redis: A client with `decode_responses=True` that repeats nothing. A client with
            redis-py's defaults sends a whole batch again when a reply is lost.
        stream: The stream's key; it is created if there is none.
        events: Field names and values of each, at least one.
        batch_size: How many entries to send before reading the replies, which the server
            keeps in memory meanwhile.

    Returns:
        For each event, in the same place, its entry's ID or its error: after
        `redis.ResponseError` it is not stored; after `redis.ConnectionError` or
        `redis.TimeoutError`, which all events of its batch have, that is unknown.

    Raises:
        ValueError: An event has no fields, or `batch_size` is less than 1; nothing is
            sent.

    Source:
        https://redis.io/docs/latest/develop/using-commands/pipelining/
    """
    if batch_size < 1 or not all(events):
        raise ValueError("every event needs a field, and every batch an event")
    results: list[str | RedisError] = []
    for start in range(0, len(events), batch_size):
        batch = events[start : start + batch_size]
        with redis.pipeline(transaction=False) as pipeline:
            for event in batch:
                fields: dict[Any, Any] = dict(event)
                pipeline.xadd(stream, fields)
            try:
                # Errors of single commands come in their places, beside the IDs.
                results += pipeline.execute(raise_on_error=False)
            except (RedisConnectionError, RedisTimeoutError) as error:
                results += [error] * len(batch)
    return results


# --8<-- [end:append_in_batches]


def demo() -> None:
    """Append a thousand events, and then four to a stream that has two IDs left."""
    with connect() as redis, temporary_stream(redis) as orders:
        events = [{"order": str(number)} for number in range(1000)]
        results = append_in_batches(redis, orders, events, batch_size=250)
        print(f"{len(results)} events in 4 round trips")
        stored = redis.xrange(orders)
        print("all stored, in order:", [event for _, event in stored] == events)
        print(
            "the results are their IDs:", [entry_id for entry_id, _ in stored] == results
        )
    with connect() as redis, temporary_stream(redis) as full:
        end = 2**64 - 1
        redis.xadd(full, {"order": "last but two"}, id=f"{end}-{end - 2}")
        for number, result in enumerate(append_in_batches(redis, full, events[:4])):
            print(f"order {number}: {result}")


if __name__ == "__main__":
    demo()
