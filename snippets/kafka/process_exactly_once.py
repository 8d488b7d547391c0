"""Consume, process, produce: each record has one result, whatever crashes in between.

Example:
    ```py
    from kafka import KafkaConsumer, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.process_exactly_once import process_exactly_once

    options = {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    group = options | {"group_id": "billing", "enable_auto_commit": False}
    with (
        temporary_topic() as orders,
        temporary_topic() as invoices,
        KafkaProducer(transactional_id=f"{orders}-1", **settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
        KafkaConsumer(invoices, **options, **settings()) as reader,
    ):
        with KafkaProducer(**settings()) as shop:
            shop.send(orders, b'{"sku": "tea"}').get()
        producer.init_transactions()
        process_exactly_once(
            *(consumer, producer, invoices),
            transform=lambda order: {"invoice for": order["sku"]},
            timeout_ms=30_000,
        )
        print(next(reader).value.decode())
        #> {"invoice for": "tea"}
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Callable, Mapping
from contextlib import suppress

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata
from kafka.errors import CommitFailedError, KafkaError

# --8<-- [end:imports]
# isort: split
from kafka import TopicPartition

from snippets.kafka import settings, temporary_topic


# --8<-- [start:process_exactly_once]
def process_exactly_once(
    consumer: KafkaConsumer,
    producer: KafkaProducer,
    target: str,
    transform: Callable[[dict[str, str]], Mapping[str, str]],
    count: int = 10,
    timeout_ms: int = 1000,
) -> int:
    """Read a batch, and send its results and commit its offsets in one transaction.

    The results and the offsets count together, or not at all. What a killed producer has
    left open is aborted by the next one with its `transactional_id`, and a consumer that
    the group has given up can't commit.

    Args:
        consumer: A consumer of a group, which doesn't commit by itself; with
            `isolation_level="read_committed"`, or else it may come back to an offset from
            before the transaction.
        producer: A producer with a `transactional_id` that lasts over restarts and which
            no other process has at the same time, after `init_transactions`.
        target: The topic for the results. Whoever reads it must be `read_committed`, too.
        transform: Makes the result. It may be called twice for an event, so it must do
            nothing else.
        count: How many records to take at the most.
        timeout_ms: How many milliseconds to wait for a record. The first call also has
            to wait until the group has given the consumer its partitions.

    Returns:
        How many results were sent.

    Raises:
        kafka.errors.CommitFailedError: The group has given the partitions to another
            consumer, which does the work.
        kafka.errors.KafkaError: The transaction is aborted, and the batch comes again at
            the next call. After `ProducerFencedError`, or if the next call fails at once,
            close the producer and make another.
        Exception: What `transform` raises; as `KafkaError`.

    Source:
        https://kafka.apache.org/43/design/design/#using-transactions
    """
    batch = consumer.poll(timeout_ms=timeout_ms, max_records=count)
    if not batch:
        return 0
    # Before the work: a consumer that stalls in it has no generation after it.
    membership = consumer.group_metadata()
    if consumer.subscription() and membership.generation_id < 0:
        # The brokers would not notice: who names no generation is not checked.
        raise CommitFailedError("the group has given this consumer up")
    sent = 0
    try:
        producer.begin_transaction()
        for records in batch.values():
            for record in records:
                result = transform(json.loads(record.value))
                value = json.dumps(dict(result)).encode()
                producer.send(target, value, key=record.key)
                sent += 1
        done = {
            partition: OffsetAndMetadata(records[-1].offset + 1, "", -1)
            for partition, records in batch.items()
        }
        producer.send_offsets_to_transaction(done, membership)
        producer.commit_transaction()
    except Exception:
        for partition, records in batch.items():
            consumer.seek(partition, records[0].offset)
        # A producer that was fenced can't abort, and its successor has done it.
        with suppress(KafkaError):
            producer.abort_transaction()
        raise
    return sent


# --8<-- [end:process_exactly_once]


def demo() -> None:
    """Let a consumer fail between two orders, and show that each has one invoice."""

    def invoice(order: dict[str, str]) -> dict[str, str]:
        print(f"working on order {order['order']}")
        if order["order"] == "1" and not failures:
            failures.append(order)
            # The first invoice is on its way; make sure that it is in the topic.
            producer.flush()
            raise ConnectionError
        return {"invoice": order["order"]}

    failures: list[dict[str, str]] = []
    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
    }
    with (
        temporary_topic() as orders,
        temporary_topic() as invoices,
        KafkaProducer(transactional_id=f"{orders}-1", **settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
    ):
        with KafkaProducer(**settings()) as shop:
            for number in range(3):
                shop.send(orders, json.dumps({"order": str(number)}).encode())
        producer.init_transactions()
        args = (consumer, producer, invoices, invoice)
        try:
            process_exactly_once(*args, timeout_ms=30_000)
        except ConnectionError:
            committed = consumer.committed(TopicPartition(orders, 0))
            print(f"worker-1 fails: committed offset {committed}")
        print("worker-1 goes on")
        process_exactly_once(*args, timeout_ms=30_000)
        print(f"committed offset {consumer.committed(TopicPartition(orders, 0))}")
        for level, count in (("read_committed", 3), ("read_uncommitted", 4)):
            looking = group | {"group_id": None, "isolation_level": level}
            with KafkaConsumer(invoices, **looking, **settings()) as looker:
                found = [json.loads(next(looker).value)["invoice"] for _ in range(count)]
            print(f"{level}: {found}")


if __name__ == "__main__":
    demo()
