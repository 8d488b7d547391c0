"""Read a topic as a group: each partition goes to one of the group's consumers.

Example:
    ```py
    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.read_group import join, read_group

    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            producer.send(orders, b'{"sku": "tea"}')
            producer.send(orders, b'{"sku": "milk"}').get()
        with join(orders, "billing", **settings()) as consumer:
            print(read_group(consumer, print, timeout_ms=30_000))
            #> {'sku': 'tea'}
            #> {'sku': 'milk'}
            #> 2
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata

# --8<-- [end:imports]
# isort: split
from kafka import KafkaProducer, TopicPartition

from snippets.kafka import settings, temporary_topic


# --8<-- [start:join]
def join(topic: str, group: str, **client: Any) -> KafkaConsumer:
    """Make a consumer of a group that starts at the beginning if it is new.

    The group exists from the first `poll` on, which also brings the partitions.

    Args:
        topic: The topic.
        group: The group's name.
        client: The connection settings, and whatever else the consumer is to have.

    Returns:
        A consumer that commits only what it is told to.

    Source:
        https://kafka.apache.org/43/configuration/consumer-configs/#consumerconfigs_auto.offset.reset
    """
    return KafkaConsumer(
        topic,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **client,
    )


# --8<-- [end:join]


# --8<-- [start:read_group]
def read_group(
    consumer: KafkaConsumer,
    handle: Callable[[dict[str, str]], None],
    count: int = 10,
    timeout_ms: int = 1000,
) -> int:
    """Handle a batch of the group's records, and commit each after its work.

    Args:
        consumer: A consumer that doesn't commit by itself.
        handle: Does the work for one event; it may see an event twice.
        count: How many records to take at the most.
        timeout_ms: How many milliseconds to wait for a record. The first call also has
            to wait until the group has given the consumer its partitions.

    Returns:
        How many records were handled.

    Raises:
        kafka.errors.CommitFailedError: The group has given the partition to another
            consumer meanwhile, which will see the record again.
        Exception: What `handle` raises; the record comes again at the next call.

    Source:
        https://kafka.apache.org/43/design/design/#consumer-position
    """
    handled = 0
    batch = consumer.poll(timeout_ms=timeout_ms, max_records=count)
    try:
        for partition, records in batch.items():
            for record in records:
                handle(json.loads(record.value))
                next_offset = OffsetAndMetadata(record.offset + 1, "", -1)
                consumer.commit({partition: next_offset})
                handled += 1
    except Exception:
        # The position is behind the whole batch by now; without this, the next poll would
        # skip what was not handled, and the next commit would give it up for good.
        for partition, records in batch.items():
            consumer.seek(partition, consumer.committed(partition) or records[0].offset)
        raise
    return handled


# --8<-- [end:read_group]


def demo() -> None:
    """Handle six events in two batches, and show what the group remembers."""
    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            for number in range(6):
                producer.send(orders, json.dumps({"order": str(number)}).encode())
        partition = TopicPartition(orders, 0)
        with join(orders, "billing", **settings()) as consumer:
            for count in (2, 4):
                print(f"worker-1 reads {count}")
                read_group(consumer, print, count=count, timeout_ms=30_000)
                committed = consumer.committed(partition)
                end = consumer.end_offsets([partition])[partition]
                print(f"committed offset {committed}, lag {end - committed}")


if __name__ == "__main__":
    demo()
