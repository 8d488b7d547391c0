"""Let several groups read one stream, each at its own pace and from its own start.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.fan_out import add_group, read_as

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        add_group(redis, orders, "billing", from_beginning=True)
        add_group(redis, orders, "alerts", from_beginning=False)
        redis.xadd(orders, {"sku": "milk"})
        print(read_as(redis, orders, "billing"))
        #> [{'sku': 'tea'}, {'sku': 'milk'}]
        print(read_as(redis, orders, "alerts"))
        #> [{'sku': 'milk'}]
    ```
"""

# --8<-- [start:imports]
from typing import Any

from redis import Redis, ResponseError

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:add_group]
def add_group(redis: Redis, stream: str, group: str, *, from_beginning: bool) -> bool:
    """Add a group to a stream; leave alone one that is there.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; an empty one is created if there is none.
        group: The group's name.
        from_beginning: Whether the group gets what the stream holds already, or only
            what is appended from now on.

    Returns:
        Whether the group is new.

    Raises:
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xgroup-create/
    """
    start = "0" if from_beginning else "$"
    try:
        redis.xgroup_create(stream, group, id=start, mkstream=True)
    except ResponseError as error:
        if str(error).startswith("BUSYGROUP"):
            return False
        raise
    return True


# --8<-- [end:add_group]


# --8<-- [start:read_as]
def read_as(
    redis: Redis, stream: str, group: str, count: int = 100
) -> list[dict[str, str]]:
    """Read what a group has not seen yet, and acknowledge it.

    No other group notices: each has its own last delivered ID and pending entries.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        count: How many entries to read at the most.

    Returns:
        The events; empty if there is nothing new.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).

    Source:
        https://redis.io/docs/latest/commands/xreadgroup/
    """
    batch: Any = redis.xreadgroup(group, "reader", {stream: ">"}, count=count)
    events = []
    for _, entries in batch:
        for entry_id, event in entries:
            events.append(event)
            redis.xack(stream, group, entry_id)
    return events


# --8<-- [end:read_as]


def demo() -> None:
    """Add a group before the first entry, one after it; each reads at its own pace."""
    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        print("tea is appended")
        add_group(redis, orders, "billing", from_beginning=True)
        add_group(redis, orders, "alerts", from_beginning=False)
        print("billing starts at the beginning, alerts starts now")
        redis.xadd(orders, {"sku": "milk"})
        print("milk is appended")
        for group in ("billing", "alerts", "billing"):
            print(f"{group} reads {read_as(redis, orders, group)}")
        print(f"the stream still holds {redis.xlen(orders)} entries")


if __name__ == "__main__":
    demo()
