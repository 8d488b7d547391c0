"""Set an entry aside that fails each time, so that the rest can go on.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.dead_letter import dead_letter

    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as dead,
    ):
        redis.xadd(orders, {"sku": "tea"})
        redis.xgroup_create(orders, "billing", id="0")
        dead_letter(redis, orders, "billing", "worker-1", dead, int, max_deliveries=1)
        print(redis.xlen(dead), redis.xpending(orders, "billing")["pending"])
        #> 1 0
    ```
"""

# --8<-- [start:imports]
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from contextlib import suppress

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:set_aside]
def set_aside(
    redis: Redis,
    stream: str,
    group: str,
    entry_id: str,
    event: Mapping[str, str],
    dead: str,
    reason: str,
) -> bool:
    """Move a pending entry to the dead-letter stream and acknowledge it: both or neither.

    A script, since an error inside `MULTI` doesn't stop what comes after it: the entry
    would be acknowledged although it was not stored.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        entry_id: The entry's ID.
        event: The entry's fields.
        dead: The key of the dead-letter stream; in a cluster, in the slot of `stream`.
        reason: Why, for whoever looks at it.

    Returns:
        Whether it was moved; it was not if the entry is pending no more.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`), or `dead` can't
            be appended to; the entry is then still pending.

    Source:
        https://redis.io/docs/latest/develop/programmability/eval-intro/
    """
    script = """
        if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then
            return 0
        end
        redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
        return redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
    """
    letter = {**event, "dead_source": f"{stream} {entry_id}", "dead_reason": reason}
    fields = [text for pair in letter.items() for text in pair]
    return bool(redis.eval(script, 2, stream, dead, group, entry_id, *fields))


# --8<-- [end:set_aside]


# --8<-- [start:dead_letter]
def dead_letter(
    redis: Redis,
    stream: str,
    group: str,
    consumer: str,
    dead: str,
    handle: Callable[[dict[str, str]], object],
    max_deliveries: int = 3,
    min_idle_ms: int = 60_000,
    block_ms: int = 1000,
) -> bool:
    """Handle the group's next entry, or set it aside if it has come too often.

    An entry whose work fails stays pending, and comes again when it has been idle for
    long enough; meanwhile others go on. Redis counts its deliveries, so that one that
    kills its consumer is found out too. It counts for all entries of a batch, handled or
    not, and so this takes one at a time.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        consumer: This consumer's name.
        dead: The key of the dead-letter stream; in a cluster, in the slot of `stream`.
        handle: Does the work for one event; it may see an event twice.
        max_deliveries: How often an entry may be tried, at least once.
        min_idle_ms: After how many milliseconds without acknowledgement an entry is tried
            again, whoever had it: more than the work takes.
        block_ms: How many milliseconds to wait for an entry; less than the client's
            `socket_timeout`, which is 5 seconds.

    Returns:
        Whether there was an entry.

    Raises:
        ValueError: `max_deliveries` is less than 1.
        redis.ResponseError: There is no such stream or group (`NOGROUP`), or `dead` can't
            be appended to; nothing is acknowledged.
        Exception: What `handle` raises, but for the last time; call again and go on.

    Source:
        https://redis.io/docs/latest/commands/xreadgroup/#the-claim-option
    """
    if max_deliveries < 1:
        raise ValueError(f"max_deliveries must be at least 1, not {max_deliveries}")
    streams: dict[Any, Any] = {stream: ">"}
    batch: Any = redis.xreadgroup(
        group,
        consumer,
        streams,
        count=1,
        block=block_ms,
        claim_min_idle_time=min_idle_ms,
    )
    for _, entries in batch:
        # The count is of the deliveries before this one.
        ((entry_id, event, _, deliveries),) = entries
        reason = f"delivered {deliveries} times and never acknowledged"
        if deliveries < max_deliveries:
            try:
                handle(event)
            except Exception as error:
                if deliveries + 1 < max_deliveries:
                    raise
                reason = repr(error)
            else:
                redis.xack(stream, group, entry_id)
                return True
        set_aside(redis, stream, group, entry_id, event, dead, reason)
        return True
    return False


# --8<-- [end:dead_letter]


def demo() -> None:
    """Let one of three orders fail each time, and show where it ends."""

    def bill(order: dict[str, str]) -> None:
        print(f"order {order['order']}: {order['amount']}")
        int(order["amount"])

    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as dead,
    ):
        for number, amount in enumerate(("10", "ten", "30")):
            redis.xadd(orders, {"order": str(number), "amount": amount})
        redis.xgroup_create(orders, "billing", id="0")
        for title, min_idle_ms in (("new entries", 60_000), ("an idle minute later", 0)):
            print(f"{title}:")
            going_on = True
            while going_on:
                with suppress(ValueError):
                    going_on = dead_letter(
                        *(redis, orders, "billing", "worker-1", dead, bill),
                        min_idle_ms=min_idle_ms,
                        block_ms=1,
                    )
        for _, letter in redis.xrange(dead):
            print(f"dead letter: order {letter['order']}, {letter['dead_reason']}")
        print(f"pending {redis.xpending(orders, 'billing')['pending']}")


if __name__ == "__main__":
    demo()
