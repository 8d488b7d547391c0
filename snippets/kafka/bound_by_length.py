"""Keep a topic from growing: bound each of its partitions by size.

Example:
    ```py
    from kafka import KafkaAdminClient, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.bound_by_length import bound_by_length, trim_to_length

    with temporary_topic() as orders, KafkaAdminClient(**settings()) as admin:
        bound_by_length(admin, orders, max_bytes=2**30, segment_bytes=2**26)
        with KafkaProducer(**settings()) as producer:
            for number in range(1000):
                producer.send(orders, b"%d" % number)
        print(trim_to_length(admin, orders, max_entries=10))
        #> 990
    ```
"""

# --8<-- [start:imports]
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import UnknownTopicOrPartitionError

# --8<-- [end:imports]
# isort: split
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata

from snippets.kafka import settings, temporary_topic


# --8<-- [start:bound_by_length]
def bound_by_length(
    admin: KafkaAdminClient, topic: str, max_bytes: int, segment_bytes: int
) -> None:
    """Let the brokers delete the oldest segments of each partition beyond the bound.

    A partition holds at least the newest `max_bytes`, and up to a segment more, until
    the brokers look, every five minutes by default. Nobody is asked whether the oldest
    records have been read.

    Args:
        admin: The admin client.
        topic: The topic.
        max_bytes: How many bytes of each partition to keep, at least one.
        segment_bytes: At which size a segment is closed, at least 1,048,576 bytes. What
            is in the last one, which is still written, stays within this bound.

    Raises:
        ValueError: The bound is not positive, or the broker refuses a setting, which
            the client would not tell; neither of the two is changed.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.

    Source:
        https://kafka.apache.org/43/configuration/topic-configs/#topicconfigs_retention.bytes
    """
    if max_bytes < 1:
        raise ValueError(f"a partition can't be bounded to {max_bytes} bytes")
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    config = {"retention.bytes": str(max_bytes), "segment.bytes": str(segment_bytes)}
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, config)
    answer = admin.alter_configs([resource], incremental=True)["topic"][topic]
    if answer != "OK":
        raise ValueError(answer)


# --8<-- [end:bound_by_length]


# --8<-- [start:trim_to_length]
def trim_to_length(admin: KafkaAdminClient, topic: str, max_entries: int) -> int:
    """Let go of all but the newest records of each partition, exactly and now.

    Args:
        admin: The admin client.
        topic: The topic.
        max_entries: How many records of each partition to keep, at least one. A
            transaction's marker counts as a record.

    Returns:
        How many records are gone, of all partitions together.

    Raises:
        ValueError: The bound is not positive; nothing is sent.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.
        kafka.errors.PolicyViolationError: The topic is compacted.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/
    """
    if max_entries < 1:
        raise ValueError(f"a partition can't be bounded to {max_entries} records")
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    partitions = [
        TopicPartition(topic, p["partition_index"]) for p in found["partitions"]
    ]
    starts = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    new_starts = {
        partition: ends[partition].offset - max_entries
        for partition in partitions
        if ends[partition].offset - max_entries > starts[partition].offset
    }
    admin.delete_records(new_starts)
    return sum(new_starts[each] - starts[each].offset for each in new_starts)


# --8<-- [end:trim_to_length]


def demo() -> None:
    """Bound a topic, trim past what a slow group has read, and see where it goes on."""
    with temporary_topic() as orders, KafkaAdminClient(**settings()) as admin:
        bound_by_length(admin, orders, max_bytes=2**20, segment_bytes=2**20)
        print("the broker is to keep 1 MiB, in segments of 1 MiB")
        with KafkaProducer(**settings()) as producer:
            for number in range(1000):
                producer.send(orders, b"%d" % number)
        partition = TopicPartition(orders, 0)
        group = {
            "group_id": "billing",
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
        }
        with KafkaConsumer(orders, **group, **settings()) as consumer:
            taken = [int(next(consumer).value) for _ in range(2)]
            consumer.commit({partition: OffsetAndMetadata(1, "", -1)})
        print(f"billing takes orders {taken} of 1000, commits the first, and stalls")
        (end,) = admin.list_partition_offsets({partition: OffsetSpec.LATEST}).values()
        (start,) = admin.list_partition_offsets({partition: OffsetSpec.EARLIEST}).values()
        print(f"{end.offset - start.offset} are there: by size the last segment stays")
        gone = trim_to_length(admin, orders, max_entries=10)
        print(f"an exact trim takes {gone}")
        with KafkaConsumer(orders, **group, **settings()) as consumer:
            print(f"billing reads on, and gets order {int(next(consumer).value)} next")


if __name__ == "__main__":
    demo()
