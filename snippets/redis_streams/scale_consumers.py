"""Scale consumers: run several workers on one stream, and see what each of them has.

Example:
    ```py
    from threading import Event

    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.scale_consumers import members, run_workers

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        redis.xgroup_create(orders, "billing", id="0")
        done = Event()

        def handle(event: dict[str, str]) -> None:
            print(event)
            #> {'sku': 'tea'}
            done.set()

        print(run_workers(redis, orders, "billing", ["worker-1"], handle, done))
        #> {'worker-1': 1}
        print(members(redis, orders, "billing"))
        #> {'worker-1': 0}
    ```
"""

# --8<-- [start:imports]
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from threading import Lock

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:run_workers]
def run_workers(
    redis: Redis,
    stream: str,
    group: str,
    workers: Sequence[str],
    handle: Callable[[dict[str, str]], None],
    stop: Event,
    block_ms: int = 100,
) -> dict[str, int]:
    """Let several workers share one stream, until they are told to stop.

    A worker takes one entry at a time: however long the work takes, it holds up no other
    entry. Any number of workers has something to do, here and in other processes. What a
    worker had before and never acknowledged comes first.

    Args:
        redis: A client with `decode_responses=True`; each worker uses a connection of
            its own.
        stream: The stream's key.
        group: The group's name.
        workers: The workers' names, which last over restarts.
        handle: Does the work for one event, in several threads at once; it may see an
            event twice.
        stop: Set this, and each worker ends after the entry it has.
        block_ms: How many milliseconds to wait for an entry before looking at `stop`.

    Returns:
        How many entries each worker has handled.

    Raises:
        ValueError: There is no worker, or a name occurs twice.
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        Exception: What `handle` raises, after the other workers have stopped; the entry
            stays pending, and comes again under the same name.

    Source:
        https://redis.io/docs/latest/develop/data-types/streams/#consumer-groups
    """
    if not workers or len(set(workers)) < len(workers):
        raise ValueError(f"no workers, or not of different names: {workers}")

    def work(worker: str) -> int:
        handled = 0
        start = "0"
        try:
            while not stop.is_set():
                batch: Any = redis.xreadgroup(
                    group, worker, {stream: start}, count=1, block=block_ms
                )
                entries = batch[0][1] if batch else []
                if not entries:
                    # Its own old entries are done; from now on the new ones.
                    start = ">"
                for entry_id, event in entries:
                    # One that was trimmed while it was pending comes without fields.
                    if event:
                        handle(event)
                        handled += 1
                    redis.xack(stream, group, entry_id)
        except BaseException:
            stop.set()
            raise
        return handled

    with ThreadPoolExecutor(len(workers)) as pool:
        handled = pool.map(work, workers)
        try:
            return dict(zip(workers, handled, strict=True))
        finally:
            # After Ctrl-C too, which only this thread gets to know of.
            stop.set()


# --8<-- [end:run_workers]


# --8<-- [start:members]
def members(redis: Redis, stream: str, group: str) -> dict[str, int]:
    """Tell how much each consumer of the group has at this moment.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.

    Returns:
        How many entries each consumer has taken and not acknowledged, by its name. Those
        that are gone are there too, until `XGROUP DELCONSUMER`.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).

    Source:
        https://redis.io/docs/latest/commands/xinfo-consumers/
    """
    found: Any = redis.xinfo_consumers(stream, group)
    return {each["name"]: each["pending"] for each in found}


# --8<-- [end:members]


def demo() -> None:
    """Let the first of six orders take long, and see who waits for it."""
    stop, lock, others_done = Event(), Lock(), Event()
    done: list[str] = []

    with connect() as redis, temporary_stream(redis) as orders:
        for number in range(6):
            redis.xadd(orders, {"order": str(number)})
        redis.xgroup_create(orders, "billing", id="0")

        def handle(event: dict[str, str]) -> None:
            if event["order"] == "0":
                print("order 0 takes as long as all that don't wait for it")
                others_done.wait()
                print("done meanwhile:", sorted(done))
                pending: list[int] = []
                while pending != [0, 0, 1]:
                    pending = sorted(members(redis, orders, "billing").values())
                print("taken and not acknowledged, by worker:", pending)
                stop.set()
            with lock:
                done.append(event["order"])
                if sorted(done) == ["1", "2", "3", "4", "5"]:
                    others_done.set()

        names = ["worker-1", "worker-2", "worker-3"]
        handled = run_workers(redis, orders, "billing", names, handle, stop)
        print(f"{len(handled)} workers handled {sum(handled.values())} orders")
        print("left:", redis.xinfo_groups(orders)[0]["lag"])


if __name__ == "__main__":
    demo()
