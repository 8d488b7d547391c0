"""Stop on SIGTERM: finish the entry in hand, acknowledge it, and leave the group.

Example:
    ```py
    from threading import Event

    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.shut_down_cleanly import leave, run

    with connect() as redis, temporary_stream(redis) as orders:
        redis.xadd(orders, {"sku": "tea"})
        redis.xadd(orders, {"sku": "milk"})
        redis.xgroup_create(orders, "billing", id="0")
        stop = Event()
        run(redis, orders, "billing", "worker-1", lambda order: stop.set(), stop)
        leave(redis, orders, "billing", "worker-1")
        (group,) = redis.xinfo_groups(orders)
        print(group["consumers"], "consumers,", group["lag"], "left for others")
        #> 0 consumers, 1 left for others
    ```
"""

# --8<-- [start:imports]
import signal
import threading
from collections.abc import Callable
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
import os

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:stop_on_sigterm]
def stop_on_sigterm() -> threading.Event:
    """Make an event that is set when the process is asked to end; for the main thread.

    The handler only sets it. One that closed the client or raised an error would do so in
    the middle of whatever is going on.

    Returns:
        The event to give to `run`.

    Source:
        https://docs.python.org/3/library/signal.html#signals-and-threads
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


# --8<-- [end:stop_on_sigterm]


# --8<-- [start:run]
def run(
    redis: Redis,
    stream: str,
    group: str,
    consumer: str,
    handle: Callable[[dict[str, str]], object],
    stop: threading.Event,
    block_ms: int = 1000,
) -> int:
    """Handle entries one by one until it is time to stop; then nothing is in hand.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        consumer: This consumer's name.
        handle: Does the work for one event; it may see an event twice.
        stop: Set when it is time to stop.
        block_ms: How many milliseconds to wait for an entry, and so for how long a stop
            may go unnoticed; less than the client's `socket_timeout`, which is 5 seconds.

    Returns:
        How many entries were handled.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        Exception: What `handle` raises; the entry stays pending.

    Source:
        https://redis.io/docs/latest/commands/xreadgroup/
    """
    handled = 0
    start = "0"
    while not stop.is_set():
        streams: dict[Any, Any] = {stream: start}
        batch: Any = redis.xreadgroup(group, consumer, streams, count=1, block=block_ms)
        entries = [entry for _, each in batch for entry in each]
        for entry_id, event in entries:
            # An entry that was trimmed while it was pending comes without fields.
            if event:
                handle(event)
                handled += 1
            redis.xack(stream, group, entry_id)
        if not entries:
            # What an earlier process with this name has left is done.
            start = ">"
    return handled


# --8<-- [end:run]


# --8<-- [start:leave]
def leave(redis: Redis, stream: str, group: str, consumer: str) -> bool:
    """Delete a consumer from its group, unless something is pending for it.

    `XGROUP DELCONSUMER` alone drops what is pending: nobody gets it again. Looking and
    deleting are one step here, so that nothing becomes pending in between.

    Args:
        redis: A client.
        stream: The stream's key.
        group: The group's name.
        consumer: The consumer's name.

    Returns:
        Whether it is gone. If not, entries are pending for it: handle them, or let
        another consumer claim them, and call this again.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).

    Source:
        https://redis.io/docs/latest/commands/xgroup-delconsumer/
    """
    script = """
        if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
            return 0
        end
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
        return 1
    """
    return bool(redis.eval(script, 1, stream, group, consumer))


# --8<-- [end:leave]


def demo() -> None:
    """Send SIGTERM to a worker in the middle of its second order."""
    before = signal.getsignal(signal.SIGTERM)

    def bill(order: dict[str, str]) -> None:
        print(f"order {order['order']} begins")
        if order["order"] == "2":
            print("SIGTERM comes")
            os.kill(os.getpid(), signal.SIGTERM)
        print(f"order {order['order']} is done")

    with connect() as redis, temporary_stream(redis) as orders:
        for number in range(4):
            redis.xadd(orders, {"order": str(number)})
        redis.xgroup_create(orders, "billing", id="0")
        redis.xreadgroup("billing", "worker-2", {orders: ">"}, count=1)
        print("worker-2 takes order 0, and stalls")
        try:
            args = (redis, orders, "billing", "worker-1", bill, stop_on_sigterm())
            print(f"handled {run(*args, block_ms=1)}")
        finally:
            signal.signal(signal.SIGTERM, before)
        for worker in ("worker-1", "worker-2"):
            print(f"{worker} may leave: {leave(redis, orders, 'billing', worker)}")
        (group,) = redis.xinfo_groups(orders)
        print(f"consumers {group['consumers']}, pending {group['pending']}, ", end="")
        print(f"not yet read {group['lag']}")


if __name__ == "__main__":
    demo()
