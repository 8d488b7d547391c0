"""Delete what every group of a stream has acknowledged, and nothing else.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.delete_acknowledged import (
        acknowledge_and_delete,
        delete_acknowledged,
    )

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xgroup_create(orders, "billing", id="0", mkstream=True)
        tea = redis.xadd(orders, {"sku": "tea"})
        redis.xadd(orders, {"sku": "milk"})
        redis.xreadgroup("billing", "worker-1", {orders: ">"}, count=1)
        print(delete_acknowledged(redis, orders))
        #> 0
        print(acknowledge_and_delete(redis, orders, "billing", [tea]))
        #> 1
    ```
"""

# --8<-- [start:imports]
from collections.abc import Sequence
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:delete_acknowledged]
def delete_acknowledged(redis: Redis, stream: str) -> int:
    """Delete the entries that all groups of the stream have read and acknowledged.

    What a group has not read yet, or what is pending for any consumer, stays; so a group
    that nobody reads any more keeps everything.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.

    Returns:
        How many entries are gone.

    Raises:
        ValueError: The stream has no group: the server would delete all of it.
        redis.ResponseError: There is no such stream.

    Source:
        https://redis.io/docs/latest/commands/xtrim/
    """
    groups: Any = redis.xinfo_groups(stream)
    if not groups:
        raise ValueError(f"nobody acknowledges {stream}: it has no group")
    # ACKED alone deletes everything once the last group is gone, which may be before the
    # next command. And the server needn't look beyond what all groups have read.
    read_ms = min(int(each["last-delivered-id"].partition("-")[0]) for each in groups)
    gone: Any = redis.xtrim(
        stream, minid=str(read_ms + 1), approximate=False, ref_policy="ACKED"
    )
    return int(gone)


# --8<-- [end:delete_acknowledged]


# --8<-- [start:acknowledge_and_delete]
def acknowledge_and_delete(
    redis: Redis, stream: str, group: str, entry_ids: Sequence[str]
) -> int:
    """Acknowledge entries, and delete those that no group of the stream needs any more.

    Both are one command: there is no moment when an entry is acknowledged by all, and
    stays because a client was killed.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group that has done its work.
        entry_ids: The entries' IDs, at least one.

    Returns:
        How many entries are gone. The others are acknowledged, and stay for another
        group; or there is no such group, as `XACK` doesn't tell either.

    Raises:
        redis.DataError: There are no IDs; nothing is sent.
        redis.ResponseError: One ID is no ID; none is acknowledged.

    Source:
        https://redis.io/docs/latest/commands/xackdel/
    """
    answers: Any = redis.xackdel(stream, group, *entry_ids, ref_policy="ACKED")
    return sum(answer == 1 for answer in answers)


# --8<-- [end:acknowledge_and_delete]


def demo() -> None:
    """Let one group finish, another lag behind, and a third one never read."""
    with connect() as redis, temporary_stream(redis) as orders:
        ids = [str(redis.xadd(orders, {"order": str(number)})) for number in range(4)]
        for group in ("billing", "shipping", "audit"):
            redis.xgroup_create(orders, group, id="0")
        redis.xreadgroup("billing", "worker-1", {orders: ">"})
        gone = acknowledge_and_delete(redis, orders, "billing", ids)
        print(f"billing acknowledges all 4: {gone} are deleted")
        redis.xreadgroup("shipping", "worker-1", {orders: ">"})
        gone = acknowledge_and_delete(redis, orders, "shipping", [ids[0], ids[2]])
        print(
            f"shipping acknowledges 0 and 2: {gone} are deleted, audit has read nothing"
        )
        redis.xgroup_destroy(orders, "audit")
        gone = delete_acknowledged(redis, orders)
        print(f"audit is given up: {gone} are deleted")
        print(f"left: {[event for _, event in redis.xrange(orders)]}")
        gone = acknowledge_and_delete(redis, orders, "shipping", [ids[1], ids[3]])
        print(f"shipping acknowledges 1 and 3: {gone} are deleted")


if __name__ == "__main__":
    demo()
