"""Acknowledge entries of a group one by one, in any order, after their work.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.acknowledge import acknowledge, unacknowledged

    with connect() as redis, temporary_stream(redis) as orders:
        ids = [redis.xadd(orders, {"order": str(number)}) for number in range(3)]
        redis.xgroup_create(orders, "billing", id="0")
        redis.xreadgroup("billing", "worker-1", {orders: ">"})
        acknowledge(redis, orders, "billing", ids[2])
        print(unacknowledged(redis, orders, "billing") == ids[:2])
        #> True
    ```
"""

# --8<-- [start:imports]
from redis import Redis

# --8<-- [end:imports]
# isort: split
from typing import Any

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:acknowledge]
def acknowledge(redis: Redis, stream: str, group: str, entry_id: str) -> None:
    """Acknowledge one entry, and no other, once its work is done.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        entry_id: The entry's ID.

    Raises:
        LookupError: The entry isn't pending: it was never delivered, is acknowledged
            already, or there is no such stream or group. `XACK` tells these apart from
            success only by the number 0.
        redis.ResponseError: The ID is not one.

    Source:
        https://redis.io/docs/latest/commands/xack/
    """
    if redis.xack(stream, group, entry_id) == 0:
        raise LookupError(f"{entry_id} is not pending in {group} of {stream}")


# --8<-- [end:acknowledge]


# --8<-- [start:unacknowledged]
def unacknowledged(redis: Redis, stream: str, group: str, count: int = 100) -> list[str]:
    """Return what the group has been given and has not acknowledged.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        count: How many to return at the most, the oldest first.

    Returns:
        The entries' IDs; there may be acknowledged ones between them.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).

    Source:
        https://redis.io/docs/latest/commands/xpending/
    """
    pending = redis.xpending_range(stream, group, min="-", max="+", count=count)
    return [str(each["message_id"]) for each in pending]


# --8<-- [end:unacknowledged]


def demo() -> None:
    """Acknowledge the second of three entries; show what a crash would bring again."""
    with connect() as redis, temporary_stream(redis) as orders:
        ids = [str(redis.xadd(orders, {"order": str(number)})) for number in range(3)]
        redis.xgroup_create(orders, "billing", id="0")
        batch: Any = redis.xreadgroup("billing", "worker-1", {orders: ">"})
        print(f"worker-1 takes {[event['order'] for _, event in batch[0][1]]}")
        acknowledge(redis, orders, "billing", ids[1])
        print("order 1 is done first, and acknowledged")
        again: Any = redis.xreadgroup("billing", "worker-1", {orders: "0"})
        print(f"still pending: {[event['order'] for _, event in again[0][1]]}")
        for entry_id in unacknowledged(redis, orders, "billing"):
            acknowledge(redis, orders, "billing", entry_id)
        print(f"after the rest: {unacknowledged(redis, orders, 'billing')}")
        try:
            acknowledge(redis, orders, "billing", ids[1])
        except LookupError:
            print("order 1 again: it is not pending")


if __name__ == "__main__":
    demo()
