"""Keep the order of each key: several streams, and one worker at a time for each.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.keep_order_by_key import append_in_order, read_in_order

    with connect() as redis, temporary_stream(redis) as orders:
        append_in_order(redis, [orders], "ann", {"sku": "tea"})
        append_in_order(redis, [orders], "ann", {"sku": "milk"})
        redis.xgroup_create(orders, "billing", id="0")
        print(read_in_order(redis, orders, "billing", "worker-1", print))
        #> {'sku': 'tea'}
        #> {'sku': 'milk'}
        #> 2
        print(read_in_order(redis, orders, "billing", "worker-2", print))
        #> None
    ```
"""

# --8<-- [start:imports]
from binascii import crc32
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
import time

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:append_in_order]
def append_in_order(
    redis: Redis, streams: Sequence[str], key: str, event: Mapping[str, str]
) -> tuple[str, str]:
    """Append an event to the one of several streams that its key belongs to.

    Entries of one key are in one stream, in the order in which Redis got them.

    Args:
        redis: A client with `decode_responses=True`.
        streams: The streams' keys. All producers need the same ones in the same order;
            with another number of them a key may belong to another stream.
        key: What the order is kept for, such as a customer.
        event: Field names and values, at least one.

    Returns:
        The stream, and the entry's ID.

    Raises:
        ValueError: There is no stream, or the key is empty; nothing is sent.
        redis.DataError: The event has no fields; nothing is sent.
        redis.ResponseError: The server refuses the entry, for want of memory for example.
        redis.ConnectionError: The reply is lost: whether the entry is stored is unknown.
        redis.TimeoutError: As `ConnectionError`.

    Source:
        https://redis.io/docs/latest/develop/data-types/streams/#differences-with-kafka-tm-partitions
    """
    if not streams or not key:
        raise ValueError(f"{len(streams)} streams for the key {key!r}")
    # Python's hash() differs from process to process; CRC-32 is the same everywhere.
    stream = streams[crc32(key.encode()) % len(streams)]
    fields: dict[Any, Any] = dict(event)
    return stream, str(redis.xadd(stream, fields))


# --8<-- [end:append_in_order]


# --8<-- [start:read_in_order]
def read_in_order(
    redis: Redis,
    stream: str,
    group: str,
    worker: str,
    handle: Callable[[dict[str, str]], None],
    lease_ms: int = 10_000,
    count: int = 10,
    block_ms: int = 1000,
) -> int | None:
    """Handle a batch of a stream in order, unless another worker is at it.

    The worker takes a lease on the stream, and renews it before each event. All workers
    read as one consumer: what a worker left comes first for its successor. No event is
    begun before those ahead of it are done, as long as no event takes longer than the
    lease; one that does may be handled by two workers at once.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        worker: This worker's name, which no other has, not even its own successor.
        handle: Does the work for one event; it may see an event twice.
        lease_ms: After how many milliseconds without renewal the next worker may begin;
            more than one event takes, and more than `block_ms`.
        count: How many entries to take at the most.
        block_ms: How many milliseconds to wait for an entry; less than the client's
            `socket_timeout`.

    Returns:
        How many entries were handled, or None if another worker has the stream.

    Raises:
        ValueError: The lease doesn't outlast the wait.
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        Exception: What `handle` raises; the entry is the first one next time.

    Source:
        https://redis.io/docs/latest/commands/xreadgroup/
    """
    if not 0 < block_ms < lease_ms:
        raise ValueError(f"a wait of {block_ms} ms under a lease of {lease_ms} ms")
    take_or_renew = """
        local holder = redis.call("GET", KEYS[1])
        if holder and holder ~= ARGV[1] then return 0 end
        redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
        return 1
    """

    def is_mine() -> bool:
        lease = f"{stream}:{group}:worker"
        return bool(redis.eval(take_or_renew, 1, lease, worker, str(lease_ms)))

    if not is_mine():
        return None
    pending: Any = redis.xreadgroup(group, "ordered", {stream: "0"}, count=count)
    if not pending[0][1]:
        # Only fetched, not handled: a worker that has lost its lease may fetch as well.
        # What either of them has fetched is pending, and is read from there in order.
        redis.xreadgroup(group, "ordered", {stream: ">"}, count=count, block=block_ms)
        pending = redis.xreadgroup(group, "ordered", {stream: "0"}, count=count)
    handled = 0
    for entry_id, event in pending[0][1]:
        if not is_mine():
            break
        # An entry that was trimmed while it was pending comes without fields.
        if event:
            handle(event)
            handled += 1
        redis.xack(stream, group, entry_id)
    return handled


# --8<-- [end:read_in_order]


def demo() -> None:
    """Let a worker fail amid a customer's events, and another go on in order."""
    done: dict[str, list[str]] = {"ann": [], "bob": [], "cleo": []}

    def handle(event: dict[str, str]) -> None:
        done[event["customer"]].append(event["step"])

    def fail_at_paid(event: dict[str, str]) -> None:
        if event == {"customer": "ann", "step": "paid"}:
            raise LookupError("no such payment")
        handle(event)

    with connect() as redis, temporary_stream(redis) as orders:
        streams = [f"{orders}:{number}" for number in range(3)]
        short = {"lease_ms": 500, "block_ms": 1}
        try:
            for customer in done:
                for step in ("ordered", "paid", "shipped"):
                    event = {"customer": customer, "step": step}
                    stream, _ = append_in_order(redis, streams, customer, event)
                redis.xgroup_create(stream, "billing", id="0")
                print(f"{customer}'s events are in stream {streams.index(stream)}")
            try:
                read_in_order(
                    redis, streams[0], "billing", "worker-1", fail_at_paid, **short
                )
            except LookupError as error:
                print("worker-1:", error)
            print("worker-1 has done of ann's:", done["ann"])
            found = read_in_order(redis, streams[0], "billing", "worker-2", handle)
            print("worker-2, under worker-1's lease:", found)
            for stream in streams:
                while (
                    read_in_order(redis, stream, "billing", "worker-2", handle, **short)
                    is None
                ):
                    time.sleep(0.01)
            for customer, steps in done.items():
                print(f"{customer}: {steps}")
        finally:
            redis.delete(*streams)


if __name__ == "__main__":
    demo()
