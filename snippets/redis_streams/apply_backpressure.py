"""Let a slow consumer hold up the producer, so that what waits has a bound.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.apply_backpressure import append_within, read_within

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xgroup_create(orders, "billing", id="0", mkstream=True)
        for sku in ("tea", "milk"):
            entry_id = append_within(redis, orders, "billing", {"sku": sku}, limit=1)
            print("appended" if entry_id else "refused")
            #> appended
            #> refused
        read_within(redis, orders, "billing", "worker-1", print)
    #> {'sku': 'tea'}
    ```
"""

# --8<-- [start:imports]
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:append_within]
def append_within(
    redis: Redis, stream: str, group: str, event: Mapping[str, str], limit: int
) -> str | None:
    """Append an event unless its group has too much before it already.

    What waits is what no consumer has got and what none has acknowledged. It never
    exceeds the limit, however many producers ask: a script looks and appends in one step.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        event: Field names and values, at least one.
        limit: How many entries may wait, at least one.

    Returns:
        The entry's ID, or `None` if nothing was appended: wait, or refuse in your turn.

    Raises:
        ValueError: The event has no fields, or the limit is less than 1.
        redis.ResponseError: There is no such stream or group; nothing is appended.
        redis.OutOfMemoryError: The server's memory is full; nothing is appended.

    Source:
        https://redis.io/docs/latest/commands/xinfo-groups/
    """
    if not event:
        raise ValueError("an event needs at least one field")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    script = """
        local stream, name, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])
        for _, fields in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
            local group = {}
            for i = 1, #fields, 2 do
                group[fields[i]] = fields[i + 1]
            end
            if group.name == name then
                -- Where Redis can't tell the lag, count, and no further than need be.
                local unread = group.lag or #redis.call('XRANGE', stream,
                    '(' .. group['last-delivered-id'], '+', 'COUNT', limit)
                if unread + group.pending >= limit then
                    return false
                end
                return redis.call('XADD', stream, '*', unpack(ARGV, 3))
            end
        end
        return redis.error_reply('NOGROUP no group ' .. name .. ' of ' .. stream)
    """
    fields = [text for pair in event.items() for text in pair]
    entry_id: Any = redis.eval(script, 1, stream, group, str(limit), *fields)
    return None if entry_id is None else str(entry_id)


# --8<-- [end:append_within]


# --8<-- [start:read_within]
def read_within(
    redis: Redis,
    stream: str,
    group: str,
    consumer: str,
    handle: Callable[[dict[str, str]], None],
    count: int = 10,
    block_ms: int = 1000,
) -> int:
    """Take no more entries than can be in hand, and ask again when they are done.

    Nothing has to be kept alive meanwhile: Redis sends what is asked for, and knows
    nothing of a consumer that works for an hour.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        consumer: This consumer's name.
        handle: Does the work for one event; it may see an event twice.
        count: How many entries to have in hand at the most.
        block_ms: How many milliseconds to wait for an entry; less than the client's
            `socket_timeout`, which is 5 seconds.

    Returns:
        How many entries were handled.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        Exception: What `handle` raises; this entry and the rest stay pending.

    Source:
        https://redis.io/docs/latest/commands/xreadgroup/
    """
    streams: dict[Any, Any] = {stream: ">"}
    batch: Any = redis.xreadgroup(group, consumer, streams, count=count, block=block_ms)
    entries = [entry for _, found in batch for entry in found]
    for entry_id, event in entries:
        handle(event)
        redis.xack(stream, group, entry_id)
    return len(entries)


# --8<-- [end:read_within]


def demo() -> None:
    """Let a producer run into the limit, and go on when the consumer has made room."""
    with connect() as redis, temporary_stream(redis) as orders:
        redis.xgroup_create(orders, "billing", id="0", mkstream=True)
        number = 0
        for _ in range(3):
            while append_within(redis, orders, "billing", {"order": str(number)}, 3):
                print(f"order {number} is appended")
                number += 1
            print(f"order {number} has to wait")
            read_within(redis, orders, "billing", "worker-1", print, count=2)
        print(f"entries in the stream {redis.xlen(orders)}")


if __name__ == "__main__":
    demo()
