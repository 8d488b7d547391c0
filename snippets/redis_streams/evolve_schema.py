"""Change what events look like while old entries and old readers are still there.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.evolve_schema import append_versioned, read_versioned

    def to_cents(event: dict[str, str]) -> dict[str, str]:
        return {"cents": event["euros"] + "00"}

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xgroup_create(orders, "billing", id="0", mkstream=True)
        append_versioned(redis, orders, 1, {"euros": "7"})
        append_versioned(redis, orders, 2, {"cents": "750"})
        read_versioned(redis, orders, "billing", "worker-1", [to_cents], print)
    #> {'cents': '700'}
    #> {'cents': '750'}
    ```
"""

# --8<-- [start:imports]
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:append_versioned]
def append_versioned(
    redis: Redis, stream: str, version: int, event: Mapping[str, str]
) -> str:
    """Append an event, with its version in a field beside the others.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        version: What the event looks like, from 1 on.
        event: Field names and values, at least one.

    Returns:
        The entry's ID.

    Raises:
        ValueError: The event has no fields, or the version is less than 1.
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xadd/
    """
    if not event or version < 1:
        raise ValueError(f"an event needs fields and a version: {event}, {version}")
    fields: dict[Any, Any] = {**event, "schema_version": str(version)}
    return str(redis.xadd(stream, fields))


# --8<-- [end:append_versioned]


# --8<-- [start:upgrades_from]
def upgrades_from(
    version: str, upgrades: Sequence[Callable[[dict[str, str]], dict[str, str]]]
) -> Sequence[Callable[[dict[str, str]], dict[str, str]]] | None:
    """Choose the steps that bring an event to the newest version that is known.

    Args:
        version: The event's version, as it was stored.
        upgrades: The first makes version 2 of version 1, and so on. A program with none
            knows version 1 only.

    Returns:
        The steps, none for the newest version, or `None` if the version isn't known.
    """
    if not version.isdecimal() or not 1 <= int(version) <= len(upgrades) + 1:
        return None
    return upgrades[int(version) - 1 :]


# --8<-- [end:upgrades_from]


# --8<-- [start:read_versioned]
def read_versioned(
    redis: Redis,
    stream: str,
    group: str,
    consumer: str,
    upgrades: Sequence[Callable[[dict[str, str]], dict[str, str]]],
    handle: Callable[[dict[str, str]], None],
    count: int = 10,
    min_idle_ms: int = 60_000,
    block_ms: int = 1000,
) -> list[str]:
    """Handle a batch in the newest version, and leave alone what is newer still.

    An entry of an unknown version stays pending, and the rest goes on. A reader that
    knows it gets it when it has been idle for long enough.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        consumer: This consumer's name.
        upgrades: As for `upgrades_from`. An entry without a version is of version 1.
        handle: Does the work for one event; it may see an event twice, and ignores fields
            that it doesn't know.
        count: How many entries to take at the most.
        min_idle_ms: After how many milliseconds without acknowledgement an entry is tried
            again, whoever had it: more than a batch takes.
        block_ms: How many milliseconds to wait for an entry; less than the client's
            `socket_timeout`, which is 5 seconds.

    Returns:
        The IDs of the entries whose version isn't known: raise an alarm.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        Exception: What an upgrade or `handle` raises; the entry stays pending.

    Source:
        https://redis.io/docs/latest/commands/xreadgroup/#the-claim-option
    """
    streams: dict[Any, Any] = {stream: ">"}
    batch: Any = redis.xreadgroup(
        group,
        consumer,
        streams,
        count=count,
        block=block_ms,
        claim_min_idle_time=min_idle_ms,
    )
    unknown = []
    for _, entries in batch:
        for entry_id, fields, *_ in entries:
            event = dict(fields)
            steps = upgrades_from(event.pop("schema_version", "1"), upgrades)
            if steps is None:
                unknown.append(entry_id)
                continue
            for step in steps:
                event = step(event)
            handle(event)
            redis.xack(stream, group, entry_id)
    return unknown


# --8<-- [end:read_versioned]


def demo() -> None:
    """Let an old and a new reader meet three versions in one stream."""

    def to_cents(event: dict[str, str]) -> dict[str, str]:
        return {"order": event["order"], "cents": event["euros"] + "00"}

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xgroup_create(orders, "billing", id="0", mkstream=True)
        redis.xadd(orders, {"order": "0", "euros": "5"})
        append_versioned(redis, orders, 1, {"order": "1", "euros": "7"})
        append_versioned(redis, orders, 2, {"order": "2", "cents": "750"})
        append_versioned(redis, orders, 1, {"order": "3", "euros": "9"})
        group = (redis, orders, "billing")
        print("the old reader knows version 1")
        unknown = read_versioned(*group, "old", [], print)
        print(f"it leaves {len(unknown)} entry alone")
        print("the new reader knows version 2, and takes over")
        append_versioned(redis, orders, 1, {"order": "4", "euros": "3"})
        read_versioned(*group, "new", [to_cents], print, min_idle_ms=0)
        print(f"pending {redis.xpending(orders, 'billing')['pending']}")


if __name__ == "__main__":
    demo()
