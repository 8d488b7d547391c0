"""Measure how far a group is behind: what it has not read, and what is not done.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.measure_lag import measure_lag

    with connect() as redis, temporary_stream(redis) as orders:
        for sku in ("tea", "milk", "jam"):
            redis.xadd(orders, {"sku": sku})
        redis.xgroup_create(orders, "billing", id="0")
        redis.xreadgroup("billing", "worker-1", {orders: ">"}, count=1)
        print(measure_lag(redis, orders, "billing"))
        #> {'unread': 2, 'pending': 1}
    ```
"""

# --8<-- [start:imports]
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:measure_lag]
def measure_lag(redis: Redis, stream: str, group: str) -> dict[str, int]:
    """Count the entries that a group still has before it, from Redis 7.0 on.

    Where the server can't tell its lag, they are counted one by one, which takes as long
    as reading them. Entries that come meanwhile may be counted or not.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.

    Returns:
        `unread`, how many no consumer has got yet, and `pending`, how many some consumer
        has got and not acknowledged.

    Raises:
        ValueError: The stream has no such group.
        redis.ResponseError: There is no such stream.

    Source:
        https://redis.io/docs/latest/commands/xinfo-groups/
    """
    groups: Any = redis.xinfo_groups(stream)
    found = next((each for each in groups if each["name"] == group), None)
    if found is None:
        raise ValueError(f"{stream} has no group {group}")
    unread = found["lag"]
    if unread is None:
        unread, last = 0, found["last-delivered-id"]
        while entries := redis.xrange(stream, min=f"({last}", count=1000):
            unread += len(entries)
            last = entries[-1][0]
    return {"unread": unread, "pending": found["pending"]}


# --8<-- [end:measure_lag]


def demo() -> None:
    """Let a group fall behind, delete what it has not read, and let it catch up."""
    with connect() as redis, temporary_stream(redis) as orders:
        ids = [str(redis.xadd(orders, {"order": str(number)})) for number in range(6)]
        redis.xgroup_create(orders, "billing", id="0")
        print(f"6 orders, billing is new: {measure_lag(redis, orders, 'billing')}")
        redis.xreadgroup("billing", "worker-1", {orders: ">"}, count=2)
        print(f"it takes 2: {measure_lag(redis, orders, 'billing')}")
        redis.xack(orders, "billing", *ids[:2])
        print(f"it acknowledges both: {measure_lag(redis, orders, 'billing')}")
        redis.xdel(orders, ids[3])
        (group,) = redis.xinfo_groups(orders)
        print(f"order 3 is deleted unread: the server says lag {group['lag']}")
        print(f"counted one by one: {measure_lag(redis, orders, 'billing')}")
        redis.xreadgroup("billing", "worker-1", {orders: ">"}, noack=True)
        (group,) = redis.xinfo_groups(orders)
        print(f"it reads all, and needs no acknowledgment: lag {group['lag']} again")


if __name__ == "__main__":
    demo()
