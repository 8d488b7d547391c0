"""Consume, process, produce: each entry has one result, whatever crashes in between.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.process_exactly_once import process_exactly_once

    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as invoices,
    ):
        redis.xadd(orders, {"sku": "tea"})
        redis.xgroup_create(orders, "billing", id="0")
        process_exactly_once(
            *(redis, orders, "billing", "worker-1", invoices),
            transform=lambda order: {"invoice for": order["sku"]},
        )
        for _, invoice in redis.xrange(invoices):
            print(invoice)
            #> {'invoice for': 'tea'}
    ```
"""

# --8<-- [start:imports]
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:process_exactly_once]
def process_exactly_once(
    redis: Redis,
    stream: str,
    group: str,
    consumer: str,
    target: str,
    transform: Callable[[dict[str, str]], Mapping[str, str]],
    count: int = 10,
    block_ms: int = 1000,
) -> int:
    """Read a batch, and append the result of each entry as it is acknowledged.

    Appending and acknowledging are one step of the server, for the consumer only that the
    entry is pending for. So a killed consumer leaves an entry with its result or without,
    and a slow one whose entry was claimed adds no second result.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        group: The group's name.
        consumer: This consumer's name, which lasts over restarts.
        target: The key of the stream for the results; in a cluster, in the slot of
            `stream`, as `{orders}` and `{orders}:invoices` are.
        transform: Makes the result, at least one field. It may be called twice for an
            event, so it must do nothing else.
        count: How many entries to ask for, of the old ones and of the new ones.
        block_ms: How many milliseconds to wait for a new entry; less than the client's
            `socket_timeout`, which is 5 seconds.

    Returns:
        How many results were appended.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`), a result has no
            fields, `target` can't be appended to, or is in another slot (`CROSSSLOT`);
            the entry stays pending.
        redis.ConnectionError: Whether the last result was appended is unknown; go on.
        Exception: What `transform` raises; the entry stays pending and comes again.

    Source:
        https://redis.io/docs/latest/develop/programmability/eval-intro/
    """
    script = """
        local id = ARGV[3]
        if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) == 0 then
            return 0
        end
        redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
        return redis.call('XACK', KEYS[1], ARGV[1], id)
    """
    appended = 0
    for start in ("0", ">"):
        streams: dict[Any, Any] = {stream: start}
        batch: Any = redis.xreadgroup(
            group, consumer, streams, count=count, block=block_ms
        )
        for _, entries in batch:
            for entry_id, event in entries:
                # An entry that was trimmed while it was pending comes without fields.
                if not event:
                    redis.xack(stream, group, entry_id)
                    continue
                fields = [text for pair in transform(event).items() for text in pair]
                args = (group, consumer, entry_id, *fields)
                appended += int(str(redis.eval(script, 2, stream, target, *args)))
    return appended


# --8<-- [end:process_exactly_once]


def demo() -> None:
    """Let a consumer fail between two orders, and show that each has one invoice."""

    def invoice(order: dict[str, str]) -> dict[str, str]:
        print(f"working on order {order['order']}")
        if order["order"] == "1" and not failures:
            failures.append(order)
            raise ConnectionError
        return {"invoice": order["order"]}

    failures: list[dict[str, str]] = []
    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as invoices,
    ):
        for number in range(3):
            redis.xadd(orders, {"order": str(number)})
        redis.xgroup_create(orders, "billing", id="0")
        args = (redis, orders, "billing", "worker-1", invoices, invoice)
        try:
            process_exactly_once(*args)
        except ConnectionError:
            pending = redis.xpending(orders, "billing")["pending"]
            print(f"worker-1 fails: invoices {redis.xlen(invoices)}, pending {pending}")
        print("worker-1 starts again")
        process_exactly_once(*args, block_ms=1)
        pending = redis.xpending(orders, "billing")["pending"]
        print([result["invoice"] for _, result in redis.xrange(invoices)])
        print(f"pending {pending}")


if __name__ == "__main__":
    demo()
