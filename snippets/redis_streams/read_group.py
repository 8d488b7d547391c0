"""Read a stream as a group: each entry goes to one of the group's consumers.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.read_group import join, read_group

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        redis.xadd(orders, {"sku": "milk"})
        join(redis, orders, "billing")
        print(read_group(redis, orders, "billing", "worker-1", print))
        #> {'sku': 'tea'}
        #> {'sku': 'milk'}
        #> 2
    ```
"""

# --8<-- [start:imports]
from collections.abc import Callable
from typing import Any

from redis import Redis, ResponseError

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:join]
def join(redis: Redis, stream: str, group: str) -> None:
    """Create a consumer group that starts at the beginning, unless it exists already.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key; an empty one is created if there is none.
        group: The group's name.

    Raises:
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xgroup-create/
    """
    try:
        redis.xgroup_create(stream, group, id="0", mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


# --8<-- [end:join]


# --8<-- [start:read_group]
def read_group(
    redis: Redis,
    stream: str,
    group: str,
    consumer: str,
    handle: Callable[[dict[str, str]], None],
    count: int = 10,
    block_ms: int = 1000,
) -> int:
    """Handle a batch of the group's entries, and acknowledge each after its work.

    What this consumer took before and never acknowledged comes first: a consumer that
    starts again under its old name goes on where it failed.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        consumer: This consumer's name, which lasts over restarts.
        handle: Does the work for one event; it may see an event twice.
        count: How many entries to ask for, of the old ones and of the new ones.
        block_ms: How many milliseconds to wait for a new entry; less than the client's
            `socket_timeout`, which is 5 seconds, or else the wait ends in an error.

    Returns:
        How many entries were handled.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        Exception: What `handle` raises; the entry stays pending and comes again.

    Source:
        https://redis.io/docs/latest/commands/xreadgroup/
    """
    handled = 0
    for start in ("0", ">"):
        batch: Any = redis.xreadgroup(
            group, consumer, {stream: start}, count=count, block=block_ms
        )
        for _, entries in batch:
            for entry_id, event in entries:
                # An entry that was trimmed while it was pending comes without fields.
                if event:
                    handle(event)
                    handled += 1
                redis.xack(stream, group, entry_id)
    return handled


# --8<-- [end:read_group]


def demo() -> None:
    """Let two workers share six events, and show what the group remembers."""
    with connect() as redis, temporary_stream(redis) as orders:
        for number in range(6):
            redis.xadd(orders, {"order": str(number)})
        join(redis, orders, "billing")
        for worker in ("worker-1", "worker-2", "worker-1"):
            print(f"{worker} reads two")
            read_group(redis, orders, "billing", worker, print, count=2)
        (group,) = redis.xinfo_groups(orders)
        print(f"consumers {group['consumers']}, pending {group['pending']}")
        print(f"last delivered {group['last-delivered-id']}, lag {group['lag']}")


if __name__ == "__main__":
    demo()
