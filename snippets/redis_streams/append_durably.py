"""Append an event, and know how many servers have it, in memory or on disk.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.append_durably import append_durably

    with connect() as redis, temporary_stream(redis) as orders:
        append = {"redis": redis, "stream": orders, "on_disk": False, "timeout_ms": 50}
        print(append_durably(event={"sku": "tea"}, copies=1, **append))
        #> 1700000000001-0
        try:
            append_durably(event={"sku": "milk"}, copies=2, **append)
        except TimeoutError as error:
            print(str(error).partition(" ")[2])
            #> is stored, but 1 of 2 servers confirmed it in 50 ms
    ```
"""

# --8<-- [start:imports]
from collections.abc import Mapping
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:require_copies]
def require_copies(redis: Redis, copies: int, *, on_disk: bool = True) -> None:
    """Refuse a primary that can't give so many copies. Call it once, at the start.

    It says what is there now: replicas come and go, so each append counts again.

    Args:
        redis: A client of the primary.
        copies: How many servers are to have each entry, the primary included.
        on_disk: Whether a copy counts only when it is on the server's disk.

    Raises:
        ValueError: `copies` is less than 1.
        RuntimeError: There is no append-only file, or there are too few replicas.

    Source:
        https://redis.io/docs/latest/commands/info/
    """
    if copies < 1:
        raise ValueError(f"{copies} copies are none")
    if on_disk and not redis.info("persistence")["aof_enabled"]:
        raise RuntimeError("the primary keeps no append-only file (appendonly no)")
    replicas = redis.info("replication")["connected_slaves"]
    if 1 + replicas < copies:
        raise RuntimeError(f"{copies} copies need more replicas than {replicas}")


# --8<-- [end:require_copies]


# --8<-- [start:append_durably]
def append_durably(
    redis: Redis,
    stream: str,
    event: Mapping[str, str],
    copies: int = 2,
    timeout_ms: int = 4000,
    *,
    on_disk: bool = True,
) -> str:
    """Append an event, and wait until so many servers have confirmed it.

    The entry outlives the primary if one of these replicas is promoted. Redis promotes
    the best one that it can find, and doesn't promise that it is one of these.

    Args:
        redis: A client with `decode_responses=True` that repeats nothing.
        stream: The stream's key; it is created if there is none.
        event: Field names and values, at least one.
        copies: How many servers must have the entry, the primary included.
        timeout_ms: How many milliseconds to wait; less than the client's
            `socket_timeout`, which is 5 seconds. With `appendfsync everysec` a
            confirmation takes about two seconds.
        on_disk: Whether a copy counts only when it is on the server's disk.

    Returns:
        The entry's ID, confirmed by at least `copies` servers.

    Raises:
        ValueError: `copies` or `timeout_ms` is less than 1; nothing is sent.
        TimeoutError: Python's own: fewer have confirmed. The entry is stored, and not
            taken back; whoever appends it again has it twice.
        redis.DataError: The event has no fields; nothing is sent.
        redis.ResponseError: The server refuses the entry; or it stored it, and keeps no
            append-only file (`WAITAOF`), which `require_copies` tells before.
        redis.ConnectionError: The reply is lost: whether the entry is stored is unknown.
        redis.TimeoutError: As `ConnectionError`.

    Source:
        https://redis.io/docs/latest/commands/waitaof/
    """
    if copies < 1 or timeout_ms < 1:
        raise ValueError(f"copies is {copies}, timeout_ms is {timeout_ms}")
    fields: dict[Any, Any] = dict(event)
    # In one pipeline, as both must go through one connection: WAIT and WAITAOF count for
    # the writes of their own. Not in a transaction: there they don't wait.
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.xadd(stream, fields)
        if on_disk:
            pipeline.waitaof(1, copies - 1, timeout_ms)
        else:
            pipeline.wait(copies - 1, timeout_ms)
        entry_id, confirmed = pipeline.execute()
    # WAITAOF answers with two numbers, WAIT with one that leaves out the primary.
    count = sum(confirmed) if on_disk else 1 + confirmed
    if count < copies:
        raise TimeoutError(
            f"{entry_id} is stored, but {count} of {copies} servers confirmed it "
            f"in {timeout_ms} ms"
        )
    return str(entry_id)


# --8<-- [end:append_durably]


def demo() -> None:
    """Ask a server as installed for one copy and for two, in memory and on disk."""
    with connect() as redis, temporary_stream(redis) as orders:
        for copies, on_disk in ((1, False), (1, True), (2, False)):
            where = "on disk" if on_disk else "in memory"
            try:
                require_copies(redis, copies, on_disk=on_disk)
                print(f"copies={copies} {where}: the server can do that")
            except RuntimeError as error:
                print(f"copies={copies} {where}: {error}")
        order = {"redis": redis, "stream": orders, "on_disk": False, "timeout_ms": 100}
        print("tea, copies=1:", append_durably(event={"sku": "tea"}, copies=1, **order))
        for attempt in (1, 2):
            try:
                append_durably(event={"sku": "milk"}, copies=2, **order)
            except TimeoutError as error:
                print(f"milk, copies=2, attempt {attempt}: {error}")
        for entry_id, event in redis.xrange(orders):
            print(entry_id, event)


if __name__ == "__main__":
    demo()
