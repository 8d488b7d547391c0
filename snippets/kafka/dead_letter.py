"""Set a record aside that fails each time, so that the rest can go on.

Example:
    ```py
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.dead_letter import dead_letter

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with (
        temporary_topic() as orders,
        temporary_topic() as dead,
        KafkaProducer(**settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
    ):
        producer.send(orders, b'{"sku": "tea"}').get()
        dead_letter(consumer, producer, dead, int, max_deliveries=1, timeout_ms=30_000)
        partition = TopicPartition(dead, 0)
        print(consumer.end_offsets([partition])[partition])
        #> 1
        print(consumer.committed(TopicPartition(orders, 0)))
        #> 1
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata

# --8<-- [end:imports]
# isort: split
from contextlib import suppress

from kafka import TopicPartition

from snippets.kafka import settings, temporary_topic


# --8<-- [start:set_aside]
def set_aside(
    producer: KafkaProducer, record: Any, dead: str, reason: str, timeout_s: float = 30
) -> None:
    """Copy a record to the dead-letter topic, and wait until the brokers have it.

    Commit the record after this: a crash between the two puts it there twice, and never
    loses it.

    Args:
        producer: A producer with the default `acks`, which is all.
        record: What `poll` returned. Its key, value and headers go along as bytes, so
            that a value that can't be read is kept too.
        dead: The dead-letter topic.
        reason: Why, for whoever looks at it.
        timeout_s: How many seconds to wait.

    Raises:
        kafka.errors.KafkaError: The record isn't known to be stored; don't commit it.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaProducer.html
    """
    source = f"{record.topic} {record.partition} {record.offset}"
    headers = [
        *record.headers,
        ("dead_source", source.encode()),
        ("dead_reason", reason.encode()),
    ]
    sent = producer.send(dead, record.value, key=record.key, headers=headers)
    sent.get(timeout=timeout_s)


# --8<-- [end:set_aside]


# --8<-- [start:dead_letter]
def dead_letter(
    consumer: KafkaConsumer,
    producer: KafkaProducer,
    dead: str,
    handle: Callable[[dict[str, str]], object],
    max_deliveries: int = 3,
    timeout_ms: int = 1000,
) -> bool:
    """Handle the group's next record, or set it aside if it has come too often.

    A record whose work fails comes again at the next call; meanwhile its partition waits.
    Kafka counts nothing. The count is the note that a commit may carry, written before
    the work, so that a record that kills its consumer is found out too.

    Args:
        consumer: A consumer of a group that doesn't commit by itself.
        producer: A producer with the default `acks`, which is all.
        dead: The dead-letter topic.
        handle: Does the work for one event; it may see an event twice.
        max_deliveries: How often a record may be tried, at least once.
        timeout_ms: How many milliseconds to wait for a record. The first call also has
            to wait until the group has given the consumer its partitions.

    Returns:
        Whether there was a record.

    Raises:
        ValueError: `max_deliveries` is less than 1.
        kafka.errors.CommitFailedError: The group has given the partition to another
            consumer meanwhile, which will see the record again.
        kafka.errors.KafkaError: The dead letter isn't known to be stored; the record
            comes again.
        Exception: What `handle` raises, but for the last time; call again and go on.

    Source:
        https://kafka.apache.org/43/configuration/broker-configs/#brokerconfigs_offset.metadata.max.bytes
    """
    if max_deliveries < 1:
        raise ValueError(f"max_deliveries must be at least 1, not {max_deliveries}")
    batch = consumer.poll(timeout_ms=timeout_ms, max_records=1)
    for partition, (record,) in batch.items():
        try:
            saved = consumer.committed(partition, metadata=True)
            counted = saved and saved.offset == record.offset and saved.metadata.isdigit()
            deliveries = int(saved.metadata) if counted else 0
            reason = f"tried {deliveries} times and never committed"
            if deliveries < max_deliveries:
                count = OffsetAndMetadata(record.offset, str(deliveries + 1), -1)
                consumer.commit({partition: count})
                try:
                    handle(json.loads(record.value))
                except Exception as error:
                    if deliveries + 1 < max_deliveries:
                        raise
                    reason = repr(error)
                else:
                    reason = ""
            if reason:
                set_aside(producer, record, dead, reason)
            consumer.commit({partition: OffsetAndMetadata(record.offset + 1, "", -1)})
        except Exception:
            # Without this, the next poll would pass over what is not done.
            consumer.seek(partition, record.offset)
            raise
    return bool(batch)


# --8<-- [end:dead_letter]


def demo() -> None:
    """Let one of three orders fail each time, and show where it ends."""

    def bill(order: dict[str, str]) -> None:
        print(f"order {order['order']}: {order['amount']}")
        int(order["amount"])

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with (
        temporary_topic() as orders,
        temporary_topic() as dead,
        KafkaProducer(**settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
    ):
        for number, amount in enumerate(("10", "ten", "30")):
            event = {"order": str(number), "amount": amount}
            producer.send(orders, json.dumps(event).encode())
        partition = TopicPartition(orders, 0)
        for _ in range(5):
            with suppress(ValueError):
                dead_letter(consumer, producer, dead, bill, timeout_ms=30_000)
            done = consumer.committed(partition, metadata=True)
            print(f"  committed offset {done.offset}, note {done.metadata!r}")
        with KafkaConsumer(dead, auto_offset_reset="earliest", **settings()) as looker:
            letter = next(looker)
        print(f"dead letter: {letter.value.decode()}")
        print(f"  {dict(letter.headers)['dead_reason'].decode()}")


if __name__ == "__main__":
    demo()
