"""Try an entry again later: put it off, and bring it back when its time has come.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.retry_with_delay import move_due, retry_later

    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as later,
    ):
        redis.xadd(orders, {"sku": "tea"})
        redis.xgroup_create(orders, "billing", id="0")
        ((_, entries),) = redis.xreadgroup("billing", "worker-1", {orders: ">"})
        ((entry_id, event),) = entries
        retry_later(redis, orders, "billing", entry_id, event, later, delay_ms=60_000)
        print(move_due(redis, later, orders), "due,", redis.zcard(later), "waiting")
        #> 0 due, 1 waiting
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Mapping

from redis import Redis

# --8<-- [end:imports]
# isort: split
import time

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:retry_later]
def retry_later(
    redis: Redis,
    stream: str,
    group: str,
    entry_id: str,
    event: Mapping[str, str],
    later: str,
    delay_ms: int,
) -> bool:
    """Move a pending entry to the set of those that wait: both or neither.

    Its field `attempt` goes up by one, so that the next failure can wait longer.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        entry_id: The entry's ID.
        event: The entry's fields.
        later: The key of a sorted set, of this group alone; in a cluster, in the slot of
            `stream`.
        delay_ms: How many milliseconds to wait, by the server's clock; at least 1.

    Returns:
        Whether it was moved; it was not if the entry is pending no more.

    Raises:
        ValueError: The delay is less than 1.
        redis.ResponseError: There is no such stream or group (`NOGROUP`), or `later` is
            no sorted set; the entry is then still pending.

    Source:
        https://redis.io/docs/latest/commands/zadd/
    """
    if delay_ms < 1:
        raise ValueError(f"delay_ms must be at least 1, not {delay_ms}")
    script = """
        if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then
            return 0
        end
        local now = redis.call('TIME')
        local due = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3]
        redis.call('ZADD', KEYS[2], due, ARGV[4])
        return redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
    """
    again = {**event, "attempt": str(int(event.get("attempt", "1")) + 1)}
    # The ID keeps two equal events apart; a list keeps the order of the fields.
    waiting = json.dumps([entry_id, *(text for pair in again.items() for text in pair)])
    keys = (stream, later)
    return bool(redis.eval(script, 2, *keys, group, entry_id, str(delay_ms), waiting))


# --8<-- [end:retry_later]


# --8<-- [start:move_due]
def move_due(redis: Redis, later: str, target: str, count: int = 100) -> int:
    """Append the events whose time has come to a stream; each once, whoever else moves.

    Somebody has to call this, now and then: nothing happens when an event becomes due.

    Args:
        redis: A client.
        later: The key of the sorted set.
        target: The stream's key. Every group of it gets the event, so give a group whose
            stream has others a retry stream of its own.
        count: How many events to move at the most, while all other commands wait.

    Returns:
        How many events were moved.

    Raises:
        ValueError: The count is less than 1.
        redis.ResponseError: `target` can't be appended to; the event is waiting still.

    Source:
        https://redis.io/docs/latest/develop/programmability/eval-intro/
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    script = """
        local now = redis.call('TIME')
        local ms = now[1] * 1000 + math.floor(now[2] / 1000)
        local due = redis.call('ZRANGEBYSCORE', KEYS[1], 0, ms, 'LIMIT', 0, ARGV[1])
        for _, waiting in ipairs(due) do
            redis.call('XADD', KEYS[2], '*', unpack(cjson.decode(waiting), 2))
            redis.call('ZREM', KEYS[1], waiting)
        end
        return #due
    """
    return int(str(redis.eval(script, 2, later, target, str(count))))


# --8<-- [end:move_due]


def demo() -> None:
    """Put off one of three orders, and handle it when its time has come."""
    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as later,
    ):
        for number in range(3):
            redis.xadd(orders, {"order": str(number)})
        redis.xgroup_create(orders, "billing", id="0")
        ((_, entries),) = redis.xreadgroup("billing", "worker-1", {orders: ">"})
        for entry_id, event in entries:
            if event["order"] == "1":
                print(f"{event} fails, and is put off for 200 ms")
                retry_later(redis, orders, "billing", entry_id, event, later, 200)
            else:
                print(f"{event} is done")
                redis.xack(orders, "billing", entry_id)
        pending = redis.xpending(orders, "billing")["pending"]
        print(f"pending {pending}, waiting {redis.zcard(later)}")
        while not (moved := move_due(redis, later, orders)):
            time.sleep(0.01)
        print(f"200 ms later: moved {moved}, waiting {redis.zcard(later)}")
        ((_, entries),) = redis.xreadgroup("billing", "worker-1", {orders: ">"})
        for entry_id, event in entries:
            print(f"{event} is done")
            redis.xack(orders, "billing", entry_id)


if __name__ == "__main__":
    demo()
