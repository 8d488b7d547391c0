"""See what a stream holds, and who in a group holds what.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.inspect import inspect_log

    with connect() as redis, temporary_stream(redis) as orders:
        for sku in ("tea", "milk"):
            redis.xadd(orders, {"sku": sku})
        redis.xgroup_create(orders, "billing", id="0")
        found = inspect_log(redis, orders)
        print(found["entries"], found["groups"])
        #> 2 ['billing']
    ```
"""

# --8<-- [start:imports]
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:inspect_log]
def inspect_log(redis: Redis, stream: str) -> dict[str, Any]:
    """Tell what a stream holds, from Redis 7.0 on. Nothing is changed.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.

    Returns:
        `entries`, how many there are; `first` and `last`, their IDs or None; `added`,
        how many there ever were; `groups`, their names.

    Raises:
        redis.ResponseError: There is no such stream, or the key holds something else.

    Source:
        https://redis.io/docs/latest/commands/xinfo-stream/
    """
    stream_info: Any = redis.xinfo_stream(stream)
    groups: Any = redis.xinfo_groups(stream)
    first, last = stream_info["first-entry"], stream_info["last-entry"]
    return {
        "entries": stream_info["length"],
        "first": first and first[0],
        "last": last and last[0],
        "added": stream_info["entries-added"],
        "groups": [each["name"] for each in groups],
    }


# --8<-- [end:inspect_log]


# --8<-- [start:inspect_group]
def inspect_group(redis: Redis, stream: str, group: str) -> dict[str, Any]:
    """Tell who is in a group, and what each has not acknowledged, from Redis 7.2 on.

    Nothing is changed. A consumer is a name that was used once: whether its process
    lives, Redis can't tell.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.

    Returns:
        `members`, by name: `pending`, how many entries it holds; `idle_ms` since it last
        asked; `inactive_ms` since it last got an entry, -1 for never. And `oldest`, the
        first pending entry, or None: its ID, its consumer, how often it was delivered.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).

    Source:
        https://redis.io/docs/latest/commands/xinfo-consumers/
    """
    consumers: Any = redis.xinfo_consumers(stream, group)
    pending: Any = redis.xpending_range(stream, group, min="-", max="+", count=1)
    return {
        "members": {
            each["name"]: {
                "pending": each["pending"],
                "idle_ms": each["idle"],
                "inactive_ms": each["inactive"],
            }
            for each in consumers
        },
        "oldest": {
            "id": pending[0]["message_id"],
            "consumer": pending[0]["consumer"],
            "deliveries": pending[0]["times_delivered"],
        }
        if pending
        else None,
    }


# --8<-- [end:inspect_group]


def demo() -> None:
    """Let two consumers take entries, a third one none, and look at them."""
    with connect() as redis, temporary_stream(redis) as orders:
        ids = [str(redis.xadd(orders, {"order": str(number)})) for number in range(4)]
        redis.xgroup_create(orders, "billing", id="0")
        for worker in ("worker-1", "worker-2"):
            redis.xreadgroup("billing", worker, {orders: ">"}, count=2)
        redis.xreadgroup("billing", "worker-3", {orders: ">"})
        redis.xack(orders, "billing", ids[0])
        redis.xdel(orders, ids[0])
        for name, value in inspect_log(redis, orders).items():
            print(f"{name}: {value}")
        group = inspect_group(redis, orders, "billing")
        for name, member in sorted(group["members"].items()):
            never = member["inactive_ms"] == -1
            print(f"{name}: pending {member['pending']}, never got an entry: {never}")
        print(f"oldest pending: {group['oldest']}")


if __name__ == "__main__":
    demo()
