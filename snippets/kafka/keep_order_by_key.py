"""Keep the order of each key: partitions by key, and one consumer for each of them.

Example:
    ```py
    from kafka import KafkaConsumer, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.keep_order_by_key import append_in_order, read_in_order

    with temporary_topic(partitions=3) as orders:
        with KafkaProducer(**settings()) as producer:
            append_in_order(producer, orders, "ann", {"sku": "tea"})
            append_in_order(producer, orders, "ann", {"sku": "milk"})
        group = {
            "group_id": "billing",
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
        }
        with KafkaConsumer(orders, **group, **settings()) as worker_1:
            print(read_in_order(worker_1, print, timeout_ms=30_000))
            #> {'sku': 'tea'}
            #> {'sku': 'milk'}
            #> 2
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Callable, Mapping

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata

# --8<-- [end:imports]
# isort: split
from snippets.kafka import settings, temporary_topic


# --8<-- [start:append_in_order]
def append_in_order(
    producer: KafkaProducer, topic: str, key: str, event: Mapping[str, str]
) -> tuple[int, int]:
    """Append an event to the partition that its key belongs to.

    Records of one key are in one partition, in the order in which this producer sent
    them; an idempotent producer, the default, keeps it over its own retries.

    Args:
        producer: Sends the record.
        topic: The topic. With another number of partitions a key may belong to another.
        key: What the order is kept for, such as a customer.
        event: Field names and values, at least one; they are sent as JSON.

    Returns:
        The partition, and the record's offset in it.

    Raises:
        ValueError: The event has no fields, or the key is empty; nothing is sent.
        kafka.errors.KafkaTimeoutError: No acknowledgement came within
            `delivery_timeout_ms`: whether the record is stored is unknown.
        kafka.errors.KafkaError: The broker refuses the record.

    Source:
        https://kafka.apache.org/43/design/design/#load-balancing
    """
    if not event or not key:
        raise ValueError(f"{len(event)} fields for the key {key!r}")
    value = json.dumps(dict(event)).encode()
    metadata = producer.send(topic, value=value, key=key.encode()).get()
    return metadata.partition, metadata.offset


# --8<-- [end:append_in_order]


# --8<-- [start:read_in_order]
def read_in_order(
    consumer: KafkaConsumer,
    handle: Callable[[dict[str, str]], None],
    count: int = 10,
    timeout_ms: int = 1000,
) -> int:
    """Handle a batch, each partition in order, and stop where the group has moved on.

    The group gives a partition to one consumer at a time. No record is begun before those
    ahead of it are done, as long as the work on a batch takes less than
    `max.poll.interval.ms`; or else one record may be handled by two consumers at once.

    Args:
        consumer: A consumer of a group that doesn't commit by itself.
        handle: Does the work for one event; it may see an event twice.
        count: How many records to take at the most.
        timeout_ms: How many milliseconds to wait for a record. The first call also has
            to wait until the group has given the consumer its partitions.

    Returns:
        How many records were handled.

    Raises:
        kafka.errors.CommitFailedError: The group has given the partition to another
            consumer meanwhile, which handles the last record again.
        Exception: What `handle` raises; the record is the first of its partition next
            time.

    Source:
        https://kafka.apache.org/43/design/design/#consumer-position
    """
    handled = 0
    batch = consumer.poll(timeout_ms=timeout_ms, max_records=count)
    try:
        for partition, records in batch.items():
            for record in records:
                handle(json.loads(record.value))
                # After each one: if this is refused, the next one must not begin.
                next_offset = OffsetAndMetadata(record.offset + 1, "", -1)
                consumer.commit({partition: next_offset})
                handled += 1
    except Exception:
        # Without this, the next poll would go on behind the batch.
        for partition, records in batch.items():
            consumer.seek(partition, consumer.committed(partition) or records[0].offset)
        raise
    return handled


# --8<-- [end:read_in_order]


def demo() -> None:
    """Let a worker fail amid a customer's events, and another go on in order."""
    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    done: dict[str, list[str]] = {"ann": [], "bob": [], "cleo": []}

    def handle(event: dict[str, str]) -> None:
        done[event["customer"]].append(event["step"])

    def fail_at_paid(event: dict[str, str]) -> None:
        if event == {"customer": "ann", "step": "paid"}:
            raise LookupError("no such payment")
        handle(event)

    with temporary_topic(partitions=3) as orders:
        with KafkaProducer(**settings()) as producer:
            for customer in done:
                for step in ("ordered", "paid", "shipped"):
                    event = {"customer": customer, "step": step}
                    partition, _ = append_in_order(producer, orders, customer, event)
                print(f"{customer}'s events are in partition {partition}")
        with KafkaConsumer(orders, **group, **settings()) as worker_1:
            while "ordered" not in done["ann"]:
                try:
                    read_in_order(worker_1, fail_at_paid, timeout_ms=30_000)
                except LookupError as error:
                    print("worker-1:", error)
        print("worker-1 has done of ann's:", done["ann"])
        with KafkaConsumer(orders, **group, **settings()) as worker_2:
            while not all(steps[-1:] == ["shipped"] for steps in done.values()):
                read_in_order(worker_2, handle, timeout_ms=30_000)
        for customer, steps in done.items():
            print(f"{customer}: {steps}")


if __name__ == "__main__":
    demo()
