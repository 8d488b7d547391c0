"""Append and read as a group in one event loop, which nothing blocks.

Example:
    ```py
    import asyncio
    import os

    from redis.asyncio import Redis

    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.use_asyncio import append_all, join, read_group

    async def main(orders: str) -> list[dict[str, str]]:
        handled: list[dict[str, str]] = []

        async def handle(event: dict[str, str]) -> None:
            handled.append(event)

        url = os.environ.get("REDIS_URL", "redis://localhost:6379")
        async with Redis.from_url(url, decode_responses=True) as redis:
            await join(redis, orders, "billing")
            await append_all(redis, orders, [{"sku": "tea"}, {"sku": "milk"}])
            await read_group(redis, orders, "billing", "worker-1", handle)
        return handled

    with connect() as redis, temporary_stream(redis) as orders:
        print(asyncio.run(main(orders)))
        #> [{'sku': 'tea'}, {'sku': 'milk'}]
    ```
"""

# --8<-- [start:imports]
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import DataError, ResponseError

# --8<-- [end:imports]
# isort: split
import asyncio
import os

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:join]
async def join(redis: Redis, stream: str, group: str) -> None:
    """Create a consumer group that starts at the beginning, unless it exists already.

    Args:
        redis: An asyncio client with `decode_responses=True`.
        stream: The stream's key; an empty one is created if there is none.
        group: The group's name.

    Raises:
        redis.ResponseError: The key holds something that is not a stream.

    Source:
        https://redis.io/docs/latest/commands/xgroup-create/
    """
    try:
        await redis.xgroup_create(stream, group, id="0", mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


# --8<-- [end:join]


# --8<-- [start:append_all]
async def append_all(
    redis: Redis, stream: str, events: Iterable[Mapping[str, str]]
) -> list[str]:
    """Append events in their order, in one round trip, and all of them or none.

    One task for each event would be slower, and each may get a connection of its own: the
    order is then left to chance.

    Args:
        redis: An asyncio client with `decode_responses=True`, made with retries off: a
            client with its defaults may append all of them again if the reply is lost.
        stream: The stream's key.
        events: Field names and values of each, at least one.

    Returns:
        The entries' IDs.

    Raises:
        redis.DataError: An event has no fields; nothing is appended.
        redis.ResponseError: The server refuses an entry, for want of memory or because
            the key holds something that is not a stream; nothing is appended.
        redis.ConnectionError: The reply is lost: whether they are stored is unknown.
        redis.TimeoutError: As `ConnectionError`.

    Source:
        https://redis.readthedocs.io/en/stable/examples/asyncio_examples.html
    """
    together: Any = redis.pipeline(transaction=True)
    async with together:
        for event in events:
            if not event:
                raise DataError("an event needs at least one field")
            together.xadd(stream, dict(event))
        return [str(entry_id) for entry_id in await together.execute()]


# --8<-- [end:append_all]


# --8<-- [start:read_group]
async def read_group(
    redis: Redis,
    stream: str,
    group: str,
    consumer: str,
    handle: Callable[[dict[str, str]], Awaitable[None]],
    count: int = 10,
    block_ms: int = 1000,
) -> int:
    """Handle a batch of the group's entries, and acknowledge each after its work.

    What this consumer took before and never acknowledged comes first, so that a task
    which was cancelled, while it waited or while it worked, has lost nothing.

    Args:
        redis: An asyncio client with `decode_responses=True`. While this waits, it holds
            one connection of the client's pool.
        stream: The stream's key.
        group: The group's name.
        consumer: The name of this task, which no other task has.
        handle: Does the work for one event; it may see an event twice.
        count: How many entries to ask for, of the old ones and of the new ones.
        block_ms: How many milliseconds to wait for a new entry; less than the client's
            `socket_timeout`, which is 5 seconds, or else the wait ends in an error.

    Returns:
        How many entries were handled.

    Raises:
        redis.ResponseError: There is no such stream or group (`NOGROUP`).
        Exception: What `handle` raises; the entry stays pending and comes again.

    Source:
        https://redis.io/docs/latest/commands/xreadgroup/
    """
    handled = 0
    for start in ("0", ">"):
        streams: dict[Any, Any] = {stream: start}
        batch: Any = await redis.xreadgroup(
            group, consumer, streams, count=count, block=block_ms
        )
        for _, entries in batch:
            for entry_id, event in entries:
                # An entry that was trimmed while it was pending comes without fields.
                if event:
                    await handle(event)
                    handled += 1
                await redis.xack(stream, group, entry_id)
    return handled


# --8<-- [end:read_group]


async def _story(orders: str) -> None:
    url = os.environ.get("REDIS_URL", "redis://localhost:6379")
    no_retry = Retry(NoBackoff(), 0)

    async def show(event: dict[str, str]) -> None:
        print(event)

    async with Redis.from_url(url, decode_responses=True, retry=no_retry) as redis:
        await join(redis, orders, "billing")
        group = (redis, orders, "billing", "worker-1")
        worker = asyncio.create_task(read_group(*group, show, block_ms=4000))
        await asyncio.sleep(0)
        print("worker-1 waits, and the loop goes on: three events are appended")
        await append_all(redis, orders, [{"order": str(number)} for number in range(3)])
        print(f"worker-1 has handled {await worker}")

        started = asyncio.Event()

        async def never_end(event: dict[str, str]) -> None:
            print(f"worker-1 begins {event}")
            started.set()
            await asyncio.Event().wait()

        await append_all(redis, orders, [{"order": "3"}])
        worker = asyncio.create_task(read_group(*group, never_end))
        await started.wait()
        worker.cancel()
        await asyncio.wait([worker])
        print("the task is cancelled; its next run begins with what it had")
        print(f"worker-1 has handled {await read_group(*group, show, block_ms=1)}")


def demo() -> None:
    """Append while a worker waits; cancel the worker in its work, and let it go on."""
    with connect() as redis, temporary_stream(redis) as orders:
        asyncio.run(_story(orders))


if __name__ == "__main__":
    demo()
