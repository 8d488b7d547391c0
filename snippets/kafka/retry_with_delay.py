"""Try a record again later: put it off, and bring it back when its time has come.

Example:
    ```py
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.retry_with_delay import retry_later

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
    }
    with (
        temporary_topic() as orders,
        temporary_topic() as later,
        KafkaProducer(transactional_id=f"billing {orders}", **settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
    ):
        with KafkaProducer(**settings()) as shop:
            shop.send(orders, b'{"sku": "tea"}').get()
        producer.init_transactions()
        retry_later(consumer, producer, next(consumer), later, delay_ms=60_000)
        print(consumer.committed(TopicPartition(orders, 0)))
        #> 1
    ```
"""

# --8<-- [start:imports]
import time
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import CommitFailedError, KafkaError

# --8<-- [end:imports]
# isort: split
import json

from snippets.kafka import settings, temporary_topic


# --8<-- [start:retry_later]
def retry_later(
    consumer: KafkaConsumer,
    producer: KafkaProducer,
    record: Any,
    later: str,
    delay_ms: int,
) -> None:
    """Copy a record to the topic of those that wait, and commit it: both or neither.

    Its header `attempt` goes up by one, so that the next failure can wait longer.

    Args:
        consumer: The consumer that the record is from, which doesn't commit by itself;
            with `isolation_level="read_committed"`, or else it may come back to an offset
            from before the transaction.
        producer: A producer with a `transactional_id`, after `init_transactions`.
        record: What `poll` returned.
        later: A topic of this group alone, one for each delay.
        delay_ms: How many milliseconds to wait, by the clock of this machine; at least 1.

    Raises:
        ValueError: The delay is less than 1.
        kafka.errors.CommitFailedError: The group has given the partition to another
            consumer meanwhile, which will see the record again.
        kafka.errors.KafkaError: The record was not moved, and comes again.

    Source:
        https://kafka.apache.org/43/design/design/#using-transactions
    """
    if delay_ms < 1:
        raise ValueError(f"delay_ms must be at least 1, not {delay_ms}")
    headers = dict(record.headers)
    headers["attempt"] = str(int(headers.get("attempt", b"1")) + 1).encode()
    headers["not_before_ms"] = str(int(time.time() * 1000) + delay_ms).encode()
    partition = TopicPartition(record.topic, record.partition)
    done = {partition: OffsetAndMetadata(record.offset + 1, "", -1)}
    membership = consumer.group_metadata()
    if consumer.subscription() and membership.generation_id < 0:
        # The brokers would not notice: who names no generation is not checked.
        raise CommitFailedError("the group has given this consumer up")
    producer.begin_transaction()
    try:
        again = {"key": record.key, "headers": list(headers.items())}
        producer.send(later, record.value, **again)
        producer.send_offsets_to_transaction(done, membership)
        producer.commit_transaction()
    except Exception:
        consumer.seek(partition, record.offset)
        # A producer that was fenced can't abort, and its successor has done it.
        with suppress(KafkaError):
            producer.abort_transaction()
        raise


# --8<-- [end:retry_later]


# --8<-- [start:move_due]
def move_due(
    consumer: KafkaConsumer,
    producer: KafkaProducer,
    target: str,
    count: int = 100,
    timeout_ms: int = 1000,
) -> int:
    """Copy the records whose time has come to a topic, and commit them: all or none.

    A partition whose next record is not due yet is paused, while polling goes on: so the
    group takes the consumer for alive, however long the delay.

    Args:
        consumer: A consumer of the waiting records, with `read_committed`, that doesn't
            commit by itself.
        producer: A producer with a `transactional_id`, after `init_transactions`.
        target: The topic. Every group of it gets the record, so give a group whose topic
            has others a retry topic of its own.
        count: How many records to move at the most.
        timeout_ms: How many milliseconds to wait for a record that is due. The first call
            also has to wait until the group has given the consumer its partitions.

    Returns:
        How many records were moved.

    Raises:
        ValueError: The count is less than 1.
        kafka.errors.KafkaError: Nothing was moved, and all of it comes again.

    Source:
        https://kafka.apache.org/43/javadoc/org/apache/kafka/clients/consumer/KafkaConsumer.html
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    deadline = time.monotonic() + timeout_ms / 1000
    due: list[Any] = []
    consumer.resume(*consumer.paused())
    while not due and (left := deadline - time.monotonic()) > 0:
        batch = consumer.poll(timeout_ms=int(left * 1000), max_records=count)
        # Asked later, it may name no generation, and what names none is not checked.
        membership = consumer.group_metadata()
        done: dict[TopicPartition, OffsetAndMetadata] = {}
        for partition, records in batch.items():
            for record in records:
                not_before = int(dict(record.headers).get("not_before_ms", b"0"))
                if not_before > time.time() * 1000:
                    consumer.seek(partition, record.offset)
                    consumer.pause(partition)
                    break
                due.append(record)
                done[partition] = OffsetAndMetadata(record.offset + 1, "", -1)
        if due:
            producer.begin_transaction()
            try:
                for record in due:
                    again = {"key": record.key, "headers": record.headers}
                    producer.send(target, record.value, **again)
                producer.send_offsets_to_transaction(done, membership)
                producer.commit_transaction()
            except Exception:
                for partition, records in batch.items():
                    consumer.seek(partition, records[0].offset)
                with suppress(KafkaError):
                    producer.abort_transaction()
                raise
    return len(due)


# --8<-- [end:move_due]


def demo() -> None:
    """Put off one of three orders, and handle it when its time has come."""
    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
    }
    with (
        temporary_topic() as orders,
        temporary_topic() as later,
        KafkaProducer(transactional_id=f"billing {orders}", **settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
        KafkaConsumer(**group | {"group_id": "later"}, **settings()) as waiting,
    ):
        with KafkaProducer(**settings()) as shop:
            for number in range(3):
                shop.send(orders, json.dumps({"order": str(number)}).encode())
        producer.init_transactions()
        partition = TopicPartition(orders, 0)
        for _ in range(3):
            record = next(consumer)
            if record.offset == 1:
                print(f"{record.value.decode()} fails, and is put off for 200 ms")
                retry_later(consumer, producer, record, later, 200)
            else:
                print(f"{record.value.decode()} is done")
                done = OffsetAndMetadata(record.offset + 1, "", -1)
                consumer.commit({partition: done})
        print(f"committed offset {consumer.committed(partition)}")
        waiting.assign([TopicPartition(later, 0)])
        moved = move_due(waiting, producer, orders, timeout_ms=30_000)
        print(f"200 ms later: moved {moved}")
        record = next(consumer)
        attempt = dict(record.headers)["attempt"].decode()
        print(f"{record.value.decode()} is done, attempt {attempt}")


if __name__ == "__main__":
    demo()
