"""Let a slow consumer hold up the producer, so that what waits has a bound.

Example:
    ```py
    from concurrent.futures import ThreadPoolExecutor

    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.apply_backpressure import append_within, read_within

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with (
        temporary_topic() as orders,
        KafkaAdminClient(**settings()) as admin,
        KafkaProducer(**settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
        ThreadPoolExecutor(1) as pool,
    ):
        consumer.poll()
        for sku in ("tea", "milk"):
            event = {"sku": sku}
            where = append_within(producer, admin, orders, "billing", event, limit=1)
            print("appended" if where else "refused")
            #> appended
            #> refused
        handled: list[dict[str, str]] = []
        read_within(consumer, handled.append, pool, timeout_ms=30_000)
        print(handled)
        #> [{'sku': 'tea'}]
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from kafka import (
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.admin import OffsetSpec

# --8<-- [end:imports]
# isort: split
from concurrent.futures import ThreadPoolExecutor

from snippets.kafka import settings, temporary_topic


# --8<-- [start:append_within]
def append_within(
    producer: KafkaProducer,
    admin: KafkaAdminClient,
    topic: str,
    group: str,
    event: Mapping[str, str],
    limit: int,
    timeout_s: float = 30,
) -> tuple[int, int] | None:
    """Append an event unless its group has too much before it already.

    What waits is what the group has not committed. Nothing joins the look and the append:
    with several producers, each may go one record beyond the limit.

    Args:
        producer: Sends the record; one at a time is in its memory, since this waits.
        admin: Asks for the offsets.
        topic: The topic.
        group: The group's name. If it has never committed, all records wait.
        event: Field names and values, at least one; it is sent as JSON.
        limit: How many records may wait, at least one.
        timeout_s: How many seconds to wait for the brokers.

    Returns:
        The record's partition and offset, or `None` if nothing was sent: wait, or refuse
        in your turn.

    Raises:
        ValueError: The event has no fields, or the limit is less than 1.
        kafka.errors.KafkaTimeoutError: The brokers don't answer; the record may be
            stored.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaProducer.html
    """
    if not event:
        raise ValueError("an event needs at least one field")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    partitions = [TopicPartition(topic, n) for n in producer.partitions_for(topic)]
    committed = admin.list_group_offsets({group: partitions})[group]
    starts = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    waiting = sum(
        ends[each].offset - max(committed[each].offset, starts[each].offset)
        for each in partitions
    )
    if waiting >= limit:
        return None
    stored = producer.send(topic, json.dumps(event).encode()).get(timeout=timeout_s)
    return stored.partition, stored.offset


# --8<-- [end:append_within]


# --8<-- [start:read_within]
def read_within(
    consumer: KafkaConsumer,
    handle: Callable[[dict[str, str]], None],
    pool: Executor,
    count: int = 10,
    timeout_ms: int = 1000,
) -> int:
    """Take no more records than can be in hand, and ask again when they are done.

    The work runs in a thread, and may take longer than `max.poll.interval.ms`: with its
    partitions paused the consumer polls on, which brings nothing and keeps it a member.

    Args:
        consumer: A consumer of a group that doesn't commit by itself.
        handle: Does the work for one event, in a thread of the pool; it may see an event
            twice.
        pool: Where to work.
        count: How many records to have in hand at the most.
        timeout_ms: How many milliseconds to wait for a record. The first call also has
            to wait until the group has given the consumer its partitions.

    Returns:
        How many records were handled. Those of a partition that the group has given to
        another consumer meanwhile are handled there once more.

    Raises:
        Exception: What `handle` raises; all records of this call come again.

    Source:
        https://kafka.apache.org/43/javadoc/org/apache/kafka/clients/consumer/KafkaConsumer.html
    """
    batch = consumer.poll(timeout_ms=timeout_ms, max_records=count)
    in_hand = [record for records in batch.values() for record in records]
    if not in_hand:
        return 0

    def work() -> None:
        for record in in_hand:
            handle(json.loads(record.value))

    try:
        working = pool.submit(work)
        while not working.done():
            consumer.pause(*consumer.assignment())
            # A partition that has come meanwhile was not paused yet.
            for partition, records in consumer.poll(timeout_ms=10).items():
                consumer.seek(partition, records[0].offset)
        working.result()
        # What was given to another consumer meanwhile is its own to commit.
        mine = set(batch) & consumer.assignment()
        consumer.commit(
            {
                partition: OffsetAndMetadata(batch[partition][-1].offset + 1, "", -1)
                for partition in mine
            }
        )
    except BaseException:
        for partition in set(batch) & consumer.assignment():
            consumer.seek(partition, batch[partition][0].offset)
        raise
    finally:
        consumer.resume(*consumer.paused())
    return len(in_hand)


# --8<-- [end:read_within]


def demo() -> None:
    """Let a producer run into the limit, and go on when the consumer has made room."""
    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with (
        temporary_topic() as orders,
        KafkaAdminClient(**settings()) as admin,
        KafkaProducer(**settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
        ThreadPoolExecutor(1) as pool,
    ):
        consumer.poll()
        number = 0
        for _ in range(3):
            send = (producer, admin, orders, "billing")
            while append_within(*send, {"order": str(number)}, 3):
                print(f"order {number} is appended")
                number += 1
            print(f"order {number} has to wait")
            left = 2
            while left:
                left -= read_within(consumer, print, pool, left, timeout_ms=30_000)
        (end,) = consumer.end_offsets([TopicPartition(orders, 0)]).values()
        print(f"records in the topic {end}")


if __name__ == "__main__":
    demo()
