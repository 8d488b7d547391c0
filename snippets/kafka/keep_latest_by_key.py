"""Keep the latest value of each key in a compacted topic.

Example:
    ```py
    from kafka import KafkaAdminClient, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.keep_latest_by_key import compact, latest, put

    with temporary_topic() as stock, KafkaAdminClient(**settings()) as admin:
        compact(admin, stock, segment_ms=3_600_000)
        with KafkaProducer(**settings()) as producer:
            for sku, count in (("tea", "7"), ("milk", "2"), ("tea", "6"), ("milk", None)):
                put(producer, stock, sku, count)
        values, position = latest(stock, **settings())
        print(values, list(position.values()))
        #> {'tea': '6'} [4]
    ```
"""

# --8<-- [start:imports]
import time
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import UnknownTopicOrPartitionError

# --8<-- [end:imports]
# isort: split
from snippets.kafka import settings, temporary_topic


# --8<-- [start:put]
def put(producer: KafkaProducer, topic: str, key: str, value: str | None) -> int:
    """Set a key's value, or remove the key by a record without value, a tombstone.

    Args:
        producer: A producer that is idempotent, as is the default: its retries keep the
            order.
        topic: A compacted topic.
        key: What changes, not empty. Its records are all in one partition.
        value: The new value, or None to remove the key.

    Returns:
        The offset of the change in its partition.

    Raises:
        ValueError: The key is empty; nothing is sent.
        kafka.errors.MessageSizeTooLargeError: The record is larger than the producer's
            `max_request_size`; nothing is sent.

    Source:
        https://kafka.apache.org/43/design/design/#log-compaction
    """
    if not key:
        raise ValueError("a change needs a key")
    content = None if value is None else value.encode()
    return int(producer.send(topic, content, key=key.encode()).get().offset)


# --8<-- [end:put]


# --8<-- [start:latest]
def latest(
    topic: str, timeout_s: float = 30, **client: Any
) -> tuple[dict[str, str], dict[TopicPartition, int]]:
    """Read all latest values, and the positions from which changes go on.

    It reads the topic from its start to where it ends now. Older values of a key may
    come on the way, compacted or not, and tombstones: the last record of a key counts.

    Args:
        topic: The topic.
        timeout_s: How many seconds to wait for the next records.
        client: The connection settings.

    Returns:
        The values by key, and the next offset of each partition.

    Raises:
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.
        TimeoutError: The broker has sent nothing in time.

    Source:
        https://kafka.apache.org/43/design/design/#log-compaction
    """
    with KafkaConsumer(
        # The default would skip to the end when the next record has been deleted.
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        **client,
    ) as consumer:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise UnknownTopicOrPartitionError(topic)
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        values: dict[str, str] = {}
        deadline = time.monotonic() + timeout_s
        while any(consumer.position(each) < ends[each] for each in partitions):
            batch = consumer.poll(timeout_ms=100)
            for records in batch.values():
                for record in records:
                    if record.value is None:
                        values.pop(record.key.decode(), None)
                    else:
                        values[record.key.decode()] = record.value.decode()
            if batch:
                deadline = time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                raise TimeoutError(f"nothing from {topic} within {timeout_s} s")
        return values, {each: consumer.position(each) for each in partitions}


# --8<-- [end:latest]


# --8<-- [start:compact]
def compact(admin: KafkaAdminClient, topic: str, segment_ms: int) -> None:
    """Let the brokers delete records whose key has a newer one, when they get to it.

    The last segment is never compacted, and a tombstone stays for a day by default, so
    that readers who are on their way can see it.

    Args:
        admin: The admin client.
        topic: The topic. Every record has a key from now on.
        segment_ms: After how many milliseconds a segment is closed, at the next record.
            Without it, older values of a key may stay for a week, the default.

    Raises:
        ValueError: The broker refuses a setting, which the client would not tell;
            neither of the two is changed.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.

    Source:
        https://kafka.apache.org/43/configuration/topic-configs/#topicconfigs_cleanup.policy
    """
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    config = {"cleanup.policy": "compact", "segment.ms": str(segment_ms)}
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, config)
    answer = admin.alter_configs([resource], incremental=True)["topic"][topic]
    if answer != "OK":
        raise ValueError(answer)


# --8<-- [end:compact]


def demo() -> None:
    """Change a stock, read the latest values from all changes, and follow."""
    with temporary_topic() as stock, KafkaAdminClient(**settings()) as admin:
        compact(admin, stock, segment_ms=3_600_000)
        with KafkaProducer(**settings()) as producer:
            for sku, count in (("tea", "7"), ("milk", "2"), ("tea", "6"), ("milk", None)):
                put(producer, stock, sku, count)
                print(f"{sku} is {count}")
            with KafkaConsumer(
                stock, auto_offset_reset="earliest", **settings()
            ) as consumer:
                records = [next(consumer) for _ in range(4)]
                print(f"a reader gets {[record.value for record in records]}")
            values, position = latest(stock, **settings())
            print(f"latest values {values}, up to offset {list(position.values())}")
            put(producer, stock, "tea", "5")
            with KafkaConsumer(**settings()) as consumer:
                consumer.assign(list(position))
                for partition, offset in position.items():
                    consumer.seek(partition, offset)
                change = next(consumer)
                print(f"changes since: {change.key} is {change.value}")
            for number in range(500):
                put(producer, stock, "tea", str(number))
        values, position = latest(stock, **settings())
        print(f"after 500 more a reader reads {sum(position.values())} records")
        print(f"latest values {values}")


if __name__ == "__main__":
    demo()
