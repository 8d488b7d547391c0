"""Create a stream and its group before anybody needs them, as often as you like.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.set_up import describe, set_up

    with connect() as redis, temporary_stream(redis) as orders:
        print(set_up(redis, orders, "billing"))
        #> True
        print(set_up(redis, orders, "billing"))
        #> False
        print(describe(redis, orders))
        #> {'entries': 0, 'groups': {'billing': '0-0'}}
    ```
"""

# --8<-- [start:imports]
from typing import Any

from redis import Redis, ResponseError

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:set_up]
def set_up(redis: Redis, stream: str, group: str, start: str = "0") -> bool:
    """Create a group, and the stream if there is none; leave both alone if they exist.

    Any number of processes may call it at once, and again at each start: one of them
    creates the group, and a group that exists keeps its position.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        start: Where a new group begins: `0` is with all that the stream holds, `$` with
            what comes from now on, and an entry's ID with the entry after it.

    Returns:
        Whether the group was created.

    Raises:
        redis.ResponseError: `start` is no ID, or the key holds something that is not a
            stream; nothing is created.

    Source:
        https://redis.io/docs/latest/commands/xgroup-create/
    """
    try:
        redis.xgroup_create(stream, group, id=start, mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
        return False
    return True


# --8<-- [end:set_up]


# --8<-- [start:describe]
def describe(redis: Redis, stream: str) -> dict[str, Any]:
    """Tell what there is: how many entries, and where each group stands.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.

    Returns:
        `entries`, their number, and `groups`, the last delivered ID of each by its name.

    Raises:
        redis.ResponseError: There is no such stream.

    Source:
        https://redis.io/docs/latest/commands/xinfo-groups/
    """
    groups: Any = redis.xinfo_groups(stream)
    return {
        "entries": redis.xlen(stream),
        "groups": {each["name"]: each["last-delivered-id"] for each in groups},
    }


# --8<-- [end:describe]


# --8<-- [start:alter]
def alter(redis: Redis, stream: str, group: str, start: str) -> None:
    """Move a group to another position.

    Entries after the new position are delivered again, whether they were acknowledged or
    are pending for another consumer, which then has them no more.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        start: As for `set_up`.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`), or `start` is
            no ID; the group stays where it was.

    Source:
        https://redis.io/docs/latest/commands/xgroup-setid/
    """
    redis.xgroup_setid(stream, group, start)


# --8<-- [end:alter]


def demo() -> None:
    """Set a group up twice, and another that begins at the end; move it back."""
    with connect() as redis, temporary_stream(redis) as orders:
        for process in ("web-1", "web-2"):
            made = set_up(redis, orders, "billing")
            print(f"{process} sets up billing: {'created' if made else 'was there'}")
        for number in range(2):
            redis.xadd(orders, {"order": str(number)})
        set_up(redis, orders, "shipping", start="$")
        print("two orders later shipping is set up, for what comes from now on")
        print(describe(redis, orders))
        new = redis.xreadgroup("shipping", "worker-1", {orders: ">"})
        print(f"shipping gets {new}")
        alter(redis, orders, "shipping", start="0")
        print("shipping is moved to the beginning")
        ((_, entries),) = redis.xreadgroup("shipping", "worker-1", {orders: ">"})
        print(f"shipping gets orders {[event['order'] for _, event in entries]}")


if __name__ == "__main__":
    demo()
