"""Share independent jobs among any number of workers, and settle each on its own.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.work_queue import join, work

    counts: list[int] = []

    def resize(job: dict[str, str], deliveries: int) -> str:
        counts.append(deliveries)
        return "accept" if deliveries > 1 else "release"

    with connect() as redis, temporary_stream(redis) as pictures:
        redis.xadd(pictures, {"picture": "1"})
        join(redis, pictures, "resizers")
        work(redis, pictures, "resizers", "worker-1", resize)
        work(redis, pictures, "resizers", "worker-2", resize)
    print(counts)
    #> [1, 2]
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


# --8<-- [start:work]
def work(
    redis: Redis,
    stream: str,
    group: str,
    worker: str,
    handle: Callable[[dict[str, str], int], str],
    min_idle_ms: int = 30_000,
    block_ms: int = 1000,
) -> int:
    """Take the next job that nobody has, and settle it as its handler says.

    A job that is not settled comes again, as often as it takes. Those that were released,
    or whose worker is gone, come before new ones.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        worker: This worker's name, which no other has.
        handle: Does the work for one job, and gets the number of this delivery, from 1
            on. It answers `accept`, `release` for another try by any worker, or `reject`
            to give the job up: store it elsewhere first.
        min_idle_ms: After how many milliseconds an unsettled job goes to another worker:
            more than the work takes.
        block_ms: How many milliseconds to wait for a job; less than the client's
            `socket_timeout`, which is 5 seconds.

    Returns:
        How many jobs were taken, 0 or 1.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        KeyError: `handle` answers anything else; the job is released.
        Exception: What `handle` raises; the job is released.

    Source:
        https://redis.io/docs/latest/commands/xnack/
    """
    # XNACK asks for no consumer's name, and would take the job from the next worker.
    release_if_mine = """
        local group, worker, id = unpack(ARGV)
        if #redis.call('XPENDING', KEYS[1], group, id, id, 1, worker) == 1 then
            redis.call('XNACK', KEYS[1], group, 'FAIL', 'IDS', 1, id)
        end
    """
    streams: dict[Any, Any] = {stream: ">"}
    batch: Any = redis.xreadgroup(
        group,
        worker,
        streams,
        count=1,
        block=block_ms,
        claim_min_idle_time=min_idle_ms,
    )
    for _, entries in batch:
        # The count is of the deliveries before this one.
        ((job_id, job, _, deliveries),) = entries
        done = False
        try:
            answer = handle(job, deliveries + 1)
            done = {"accept": True, "reject": True, "release": False}[answer]
        finally:
            if done:
                redis.xack(stream, group, job_id)
            else:
                redis.eval(release_if_mine, 1, stream, group, worker, job_id)
    return len(batch)


# --8<-- [end:work]


def demo() -> None:
    """Let two workers take jobs in turn, one of which is released and one rejected."""

    def resize(job: dict[str, str], deliveries: int) -> str:
        answer = "accept"
        if job["picture"] == "1" and deliveries == 1:
            answer = "release"
        if job["picture"] == "2":
            answer = "reject"
        print(f"  picture {job['picture']}, delivery {deliveries}: {answer}")
        return answer

    with connect() as redis, temporary_stream(redis) as pictures:
        for number in range(4):
            redis.xadd(pictures, {"picture": str(number)})
        join(redis, pictures, "resizers")
        for worker in ("worker-1", "worker-2") * 2 + ("worker-1",):
            print(worker)
            work(redis, pictures, "resizers", worker, resize)
        pending = redis.xpending(pictures, "resizers")["pending"]
        print(
            f"jobs left {work(redis, pictures, 'resizers', worker, resize, block_ms=1)}"
        )
        print(f"pending {pending}, entries in the stream {redis.xlen(pictures)}")


if __name__ == "__main__":
    demo()
