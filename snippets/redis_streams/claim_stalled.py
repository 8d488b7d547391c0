"""Take over the entries that a consumer received and never acknowledged.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.claim_stalled import claim_stalled

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        redis.xgroup_create(orders, "billing", id="0")
        redis.xreadgroup("billing", "worker-1", {orders: ">"})
        print(claim_stalled(redis, orders, "billing", "worker-2", 0, print))
        #> {'sku': 'tea'}
        #> 1
    ```
"""

# --8<-- [start:imports]
from collections.abc import Callable

from redis import Redis

# --8<-- [end:imports]
# isort: split
import time

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:claim_stalled]
def claim_stalled(
    redis: Redis,
    stream: str,
    group: str,
    consumer: str,
    min_idle_ms: int,
    handle: Callable[[dict[str, str]], None],
    count: int = 10,
) -> int:
    """Handle what any consumer has held for too long, and acknowledge it.

    Redis gives such entries to nobody by itself: some consumer has to call this, now and
    then. Entries that were trimmed meanwhile leave the pending list on the way, from
    Redis 7.0 on.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        consumer: The name of the consumer that takes over.
        min_idle_ms: How many milliseconds since the last delivery count as stalled. It
            must be more than a whole batch takes, since the last entry of a batch is
            idle while the others are handled; or else two consumers do the same work.
        handle: Does the work for one event; it may see an event twice.
        count: How many entries to take over in one command.

    Returns:
        How many entries were handled.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        Exception: What `handle` raises; the entry is then pending for `consumer`.

    Source:
        https://redis.io/docs/latest/commands/xautoclaim/
    """
    handled = 0
    cursor = "0-0"
    while True:
        cursor, entries, _ = redis.xautoclaim(
            stream, group, consumer, min_idle_ms, start_id=cursor, count=count
        )
        for entry_id, event in entries:
            handle(event)
            redis.xack(stream, group, entry_id)
            handled += 1
        if cursor == "0-0":
            return handled


# --8<-- [end:claim_stalled]


def demo() -> None:
    """Let a worker stall with three entries, one acknowledged, and another take over."""
    with connect() as redis, temporary_stream(redis) as orders:
        for number in range(4):
            redis.xadd(orders, {"order": str(number)})
        redis.xgroup_create(orders, "billing", id="0")
        ((_, entries),) = redis.xreadgroup("billing", "worker-1", {orders: ">"}, count=3)
        print(f"worker-1 takes {[event['order'] for _, event in entries]}")
        redis.xack(orders, "billing", entries[1][0])
        print("worker-1 acknowledges order 1, and stalls")
        ((_, new),) = redis.xreadgroup("billing", "worker-2", {orders: ">"})
        print(f"worker-2 reads on and gets {[event['order'] for _, event in new]} only")
        redis.xack(orders, "billing", new[0][0])
        print("worker-2 claims what has been idle for 100 ms")
        while not redis.xpending_range(orders, "billing", "-", "+", 1, idle=100):
            time.sleep(0.01)
        claim_stalled(redis, orders, "billing", "worker-2", 100, print)
        late = redis.xack(orders, "billing", entries[0][0])
        print(f"worker-1 wakes up, acknowledges order 0: {late} entries were pending")


if __name__ == "__main__":
    demo()
