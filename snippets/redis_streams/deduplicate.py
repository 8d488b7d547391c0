"""Handle an event once although it comes twice: keep its id with its effect.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.deduplicate import deduplicate

    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as sold,
    ):
        redis.xgroup_create(orders, "billing", mkstream=True)
        for _ in range(2):
            redis.xadd(orders, {"id": "order-7", "sku": "tea"})
        ((_, entries),) = redis.xreadgroup("billing", "worker-1", {orders: ">"})
        for entry_id, event in entries:
            args = (redis, orders, "billing", entry_id, event["id"])
            print(deduplicate(*args, lambda together: together.incr(sold)))
            #> True
            #> False
        print(redis.get(sold))
        #> 1
        redis.delete(f"{orders}:billing:order-7")
    ```
"""

# --8<-- [start:imports]
from collections.abc import Callable
from typing import Any

from redis import Redis, WatchError
from redis.client import Pipeline

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:deduplicate]
def deduplicate(
    redis: Redis,
    stream: str,
    group: str,
    entry_id: str,
    event_id: str,
    effect: Callable[[Pipeline], object],
    remember_s: int = 7 * 24 * 3600,
) -> bool:
    """Apply an event's effect unless it was applied already, and acknowledge the entry.

    Effect, id and acknowledgement go in one transaction: after a crash all of it is there
    or nothing. Two consumers that have the same event apply it once. The effect must be
    in this Redis; one that is elsewhere needs its id there, too.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; in a cluster with a hash tag, as in `{orders}`, and
            every key of the effect with the same.
        group: The group's name; each group has ids of its own.
        entry_id: The entry's ID.
        event_id: What the producer named the event: the same in every copy of it. The
            entry's ID won't do, since a producer that tries again makes a new entry.
        effect: Adds the commands of the effect to the transaction. It may be called more
            than once, so it must do nothing else.
        remember_s: For how many seconds the id is kept: longer than any copy can be late.

    Returns:
        Whether the effect was applied now.

    Raises:
        ValueError: The event has no id, or `remember_s` is less than 1; nothing is done.
        redis.ResponseError: A command of the effect failed. Redis undoes nothing: the
            rest is done, and the entry is acknowledged.
        redis.ConnectionError: Whether it was applied is unknown; call it again.
        Exception: What `effect` raises; nothing is done, and the entry stays pending.

    Source:
        https://redis.io/docs/latest/develop/using-commands/transactions/
    """
    if not event_id or remember_s < 1:
        raise ValueError(f"no id, or no time to keep it: {event_id!r}, {remember_s}")
    seen = f"{stream}:{group}:{event_id}"
    together: Any = redis.pipeline(transaction=True)
    with together:
        while True:
            try:
                together.watch(seen)
                new = not together.exists(seen)
                together.multi()
                if new:
                    effect(together)
                    together.set(seen, entry_id, ex=remember_s)
                together.xack(stream, group, entry_id)
                together.execute()
            except WatchError:
                # Another consumer has just applied it.
                continue
            return new


# --8<-- [end:deduplicate]


def demo() -> None:
    """Let a producer send an order twice, and show what the consumer makes of it."""
    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as sold,
    ):
        redis.xgroup_create(orders, "billing", mkstream=True)
        for number in (7, 7, 8):
            redis.xadd(orders, {"id": f"order-{number}", "quantity": "2"})
        ((_, entries),) = redis.xreadgroup("billing", "worker-1", {orders: ">"})
        for entry_id, event in entries:

            def sell(together: Pipeline, quantity: str = event["quantity"]) -> None:
                together.incrby(sold, int(quantity))

            args = (redis, orders, "billing", entry_id, event["id"])
            applied = deduplicate(*args, sell, remember_s=60)
            print(f"{entry_id} {event['id']}: {'applied' if applied else 'seen before'}")
        print(f"sold {redis.get(sold)}")
        print(f"pending {redis.xpending(orders, 'billing')['pending']}")


if __name__ == "__main__":
    demo()
