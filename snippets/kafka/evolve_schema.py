"""Change what events look like while old records and old readers are still there.

Example:
    ```py
    from kafka import KafkaConsumer, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.evolve_schema import append_versioned, read_versioned

    def to_cents(event: dict[str, str]) -> dict[str, str]:
        return {"cents": event["euros"] + "00"}

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            append_versioned(producer, orders, 1, {"euros": "7"})
            append_versioned(producer, orders, 2, {"cents": "750"})
        with KafkaConsumer(orders, **group, **settings()) as consumer:
            read_versioned(consumer, [to_cents], print, timeout_ms=30_000)
    #> {'cents': '700'}
    #> {'cents': '750'}
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Callable, Mapping, Sequence

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata

# --8<-- [end:imports]
# isort: split
from kafka import TopicPartition

from snippets.kafka import settings, temporary_topic


# --8<-- [start:append_versioned]
def append_versioned(
    producer: KafkaProducer,
    topic: str,
    version: int,
    event: Mapping[str, str],
    timeout_s: float = 30,
) -> tuple[int, int]:
    """Append an event, with its version in a header beside the value.

    Args:
        producer: A producer with the default `acks`, which is all.
        topic: The topic.
        version: What the event looks like, from 1 on.
        event: Field names and values, at least one; it is sent as JSON.
        timeout_s: How many seconds to wait for the brokers.

    Returns:
        The record's partition and offset.

    Raises:
        ValueError: The event has no fields, or the version is less than 1.
        kafka.errors.KafkaTimeoutError: The brokers don't answer; the record may be
            stored.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaProducer.html
    """
    if not event or version < 1:
        raise ValueError(f"an event needs fields and a version: {event}, {version}")
    headers = [("schema_version", str(version).encode())]
    sent = producer.send(topic, json.dumps(event).encode(), headers=headers)
    stored = sent.get(timeout=timeout_s)
    return stored.partition, stored.offset


# --8<-- [end:append_versioned]


# --8<-- [start:upgrades_from]
def upgrades_from(
    version: str, upgrades: Sequence[Callable[[dict[str, str]], dict[str, str]]]
) -> Sequence[Callable[[dict[str, str]], dict[str, str]]] | None:
    """Choose the steps that bring an event to the newest version that is known.

    Args:
        version: The event's version, as it was stored.
        upgrades: The first makes version 2 of version 1, and so on. A program with none
            knows version 1 only.

    Returns:
        The steps, none for the newest version, or `None` if the version isn't known.
    """
    if not version.isdecimal() or not 1 <= int(version) <= len(upgrades) + 1:
        return None
    return upgrades[int(version) - 1 :]


# --8<-- [end:upgrades_from]


# --8<-- [start:read_versioned]
def read_versioned(
    consumer: KafkaConsumer,
    upgrades: Sequence[Callable[[dict[str, str]], dict[str, str]]],
    handle: Callable[[dict[str, str]], None],
    count: int = 10,
    timeout_ms: int = 1000,
) -> list[tuple[int, int]]:
    """Handle a batch in the newest version, and stop before what is newer still.

    A partition is paused where its next record is of an unknown version, and the others
    go on. A reader that knows it goes on there, as soon as it gets the partition.

    Args:
        consumer: A consumer of a group that doesn't commit by itself.
        upgrades: As for `upgrades_from`. A record without a version is of version 1.
        handle: Does the work for one event; it may see an event twice, and ignores fields
            that it doesn't know.
        count: How many records to take at the most.
        timeout_ms: How many milliseconds to wait for a record. The first call also has
            to wait until the group has given the consumer its partitions.

    Returns:
        The partition and offset of each record whose version isn't known: raise an
        alarm. Each is named once, since its partition is paused.

    Raises:
        kafka.errors.CommitFailedError: The group has given the partition to another
            consumer meanwhile, which will see the record again.
        Exception: What an upgrade or `handle` raises; the record comes again.

    Source:
        https://kafka.apache.org/43/javadoc/org/apache/kafka/clients/consumer/KafkaConsumer.html
    """
    unknown = []
    batch = consumer.poll(timeout_ms=timeout_ms, max_records=count)
    try:
        for partition, records in batch.items():
            for record in records:
                version = dict(record.headers).get("schema_version", b"1")
                steps = upgrades_from(version.decode(errors="replace"), upgrades)
                if steps is None:
                    consumer.seek(partition, record.offset)
                    consumer.pause(partition)
                    unknown.append((record.partition, record.offset))
                    break
                event = json.loads(record.value)
                for step in steps:
                    event = step(event)
                handle(event)
                next_offset = OffsetAndMetadata(record.offset + 1, "", -1)
                consumer.commit({partition: next_offset})
    except Exception:
        # Without this, the next poll would pass over what is not done.
        for partition, records in batch.items():
            consumer.seek(partition, consumer.committed(partition) or records[0].offset)
        consumer.resume(*batch)
        raise
    return unknown


# --8<-- [end:read_versioned]


def demo() -> None:
    """Let an old and a new reader meet three versions in one topic."""

    def to_cents(event: dict[str, str]) -> dict[str, str]:
        return {"order": event["order"], "cents": event["euros"] + "00"}

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            producer.send(orders, b'{"order": "0", "euros": "5"}').get()
            append_versioned(producer, orders, 1, {"order": "1", "euros": "7"})
            append_versioned(producer, orders, 2, {"order": "2", "cents": "750"})
            append_versioned(producer, orders, 1, {"order": "3", "euros": "9"})
        print("the old reader knows version 1")
        with KafkaConsumer(orders, **group, **settings()) as old:
            unknown: list[tuple[int, int]] = []
            while not unknown:
                unknown = read_versioned(old, [], print, timeout_ms=30_000)
            print(f"it stops before offset {unknown[0][1]}")
        print("the new reader knows version 2, and takes over")
        partition = TopicPartition(orders, 0)
        with KafkaConsumer(orders, **group, **settings()) as new:
            end = new.end_offsets([partition])[partition]
            while (committed := new.committed(partition)) != end:
                read_versioned(new, [to_cents], print, timeout_ms=30_000)
            print(f"committed offset {committed} of {end}")


if __name__ == "__main__":
    demo()
