"""Append and read as a group in one event loop, which nothing blocks.

kafka-python has no asyncio; this task uses confluent-kafka.

Example:
    ```py
    import asyncio

    from confluent_kafka.aio import AIOProducer

    from snippets.kafka import confluent_settings, temporary_topic
    from snippets.kafka.use_asyncio import append_all, join, read_group

    async def main(orders: str) -> list[dict[str, str]]:
        handled: list[dict[str, str]] = []

        async def handle(event: dict[str, str]) -> None:
            handled.append(event)

        config = confluent_settings()
        async with AIOProducer(dict(config)) as producer:
            await append_all(producer, orders, [{"sku": "tea"}, {"sku": "milk"}])
        async with await join(orders, "billing", config) as consumer:
            await read_group(consumer, handle, count=2, timeout_s=30)
        return handled

    with temporary_topic() as orders:
        print(asyncio.run(main(orders)))
        #> [{'sku': 'tea'}, {'sku': 'milk'}]
    ```
"""

# --8<-- [start:imports]
import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.aio import AIOConsumer, AIOProducer

# --8<-- [end:imports]
# isort: split
from snippets.kafka import confluent_settings, temporary_topic


# --8<-- [start:join]
async def join(topic: str, group: str, config: Mapping[str, Any]) -> AIOConsumer:
    """Make a consumer of a group that starts at the beginning if it is new.

    The group exists from the first read on, which also brings the partitions.

    Args:
        topic: The topic.
        group: The group's name.
        config: The connection settings by their names in librdkafka, such as
            `bootstrap.servers`.

    Returns:
        A consumer that commits only what it is told to.

    Raises:
        confluent_kafka.KafkaException: There is no such setting.

    Source:
        https://docs.confluent.io/platform/current/clients/confluent-kafka-python/html/index.html
    """
    consumer = AIOConsumer(
        {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **config,
        }
    )
    await consumer.subscribe([topic])
    return consumer


# --8<-- [end:join]


# --8<-- [start:append_all]
async def append_all(
    producer: AIOProducer, topic: str, events: Iterable[Mapping[str, str]]
) -> list[tuple[int, int]]:
    """Append events in their order, in few round trips, and wait for all answers.

    Args:
        producer: Sends the records; `"enable.idempotence": True` keeps their order, and
            stores each once, when it has to send them again.
        topic: The topic.
        events: Field names and values of each, at least one; they are sent as JSON.

    Returns:
        The partition and the offset of each record.

    Raises:
        ValueError: An event has no fields; nothing is sent.
        confluent_kafka.KafkaException: A record was refused, or not acknowledged within
            `message.timeout.ms`; the others may be stored.

    Source:
        https://docs.confluent.io/platform/current/clients/confluent-kafka-python/html/index.html
    """
    whole = [dict(event) for event in events]
    if not all(whole):
        raise ValueError("an event needs at least one field")
    values = [json.dumps(event).encode() for event in whole]
    answers = [await producer.produce(topic, value=value) for value in values]
    # Or else they wait in the client until `buffer_timeout`, which is a second.
    await producer.flush()
    records = await asyncio.gather(*answers)
    return [(record.partition(), record.offset()) for record in records]


# --8<-- [end:append_all]


# --8<-- [start:read_group]
async def read_group(
    consumer: AIOConsumer,
    handle: Callable[[dict[str, str]], Awaitable[None]],
    count: int = 10,
    timeout_s: float = 1,
) -> int:
    """Handle a batch of the group's records, and commit each after its work.

    A task that is cancelled, while it waits or while it works, loses nothing: the
    consumer goes back to the first record that is not handled.

    Args:
        consumer: A consumer that doesn't commit by itself; one task uses it.
        handle: Does the work for one event; it may see an event twice. If it takes longer
            than `max.poll.interval.ms`, the group gives the partitions away.
        count: How many records to take at the most.
        timeout_s: How many seconds to wait for so many. A cancelled task ends after them;
            cancelled again meanwhile, it skips what comes.

    Returns:
        How many records were handled.

    Raises:
        confluent_kafka.KafkaException: The broker refuses to read, for example because
            there is no such topic, or to commit, because the partition was given away.
        Exception: What `handle` raises; the record comes again at the next call.

    Source:
        https://docs.confluent.io/platform/current/clients/confluent-kafka-python/html/index.html
    """
    handled = 0
    records: list[Any] = []
    # It runs in a thread, which a cancellation doesn't reach: without the shield, what it
    # fetches after that would be dropped, and the next commit would give it up for good.
    fetch = asyncio.create_task(consumer.consume(count, timeout_s))
    try:
        records = await asyncio.shield(fetch)
        for record in records:
            if not record.error():
                await handle(json.loads(record.value()))
                await consumer.commit(message=record, asynchronous=False)
                handled += 1
    except BaseException:
        taken = [record for record in records or await fetch if not record.error()]
        for record in reversed(taken[handled:]):
            where = record.topic(), record.partition(), record.offset()
            await consumer.seek(TopicPartition(*where))
        raise
    for record in records:
        if record.error():
            raise KafkaException(record.error())
    return handled


# --8<-- [end:read_group]


async def _story(orders: str) -> None:
    config = confluent_settings()

    async def show(event: dict[str, str]) -> None:
        print(event)

    async with (
        AIOProducer({"enable.idempotence": True, **config}) as producer,
        await join(orders, "billing", config) as consumer,
    ):
        worker = asyncio.create_task(read_group(consumer, show, count=3, timeout_s=30))
        await asyncio.sleep(0)
        print("the consumer waits, and the loop goes on: three events are appended")
        await append_all(
            producer, orders, [{"order": str(number)} for number in range(3)]
        )
        print(f"it has handled {await worker}")

        started = asyncio.Event()

        async def never_end(event: dict[str, str]) -> None:
            print(f"it begins {event}")
            started.set()
            await asyncio.Event().wait()

        await append_all(producer, orders, [{"order": "3"}])
        worker = asyncio.create_task(
            read_group(consumer, never_end, count=1, timeout_s=30)
        )
        await started.wait()
        worker.cancel()
        await asyncio.wait([worker])
        print("the task is cancelled; its next run begins with what it had")
        print(f"it has handled {await read_group(consumer, show, count=1, timeout_s=30)}")


def demo() -> None:
    """Append while a consumer waits; cancel its task in its work, and let it go on."""
    with temporary_topic() as orders:
        asyncio.run(_story(orders))


if __name__ == "__main__":
    demo()
