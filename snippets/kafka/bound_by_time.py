"""Keep a topic's last hour, or day: bound it by the age of its records.

Example:
    ```py
    import time

    from kafka import KafkaAdminClient, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.bound_by_time import bound_by_time, delete_before

    minute_ago_ms = int(time.time() * 1000) - 60_000
    with temporary_topic() as orders, KafkaAdminClient(**settings()) as admin:
        bound_by_time(admin, orders, max_age_ms=3_600_000, segment_ms=600_000)
        with KafkaProducer(**settings()) as producer:
            for number in range(250):
                producer.send(orders, b"{}", timestamp_ms=minute_ago_ms + number)
        print(delete_before(admin, orders, moment_ms=minute_ago_ms + 200))
        #> 200
    ```
"""

# --8<-- [start:imports]
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import UnknownTopicOrPartitionError

# --8<-- [end:imports]
# isort: split
import time

from kafka import KafkaConsumer, KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:bound_by_time]
def bound_by_time(
    admin: KafkaAdminClient, topic: str, max_age_ms: int, segment_ms: int
) -> None:
    """Let the brokers delete segments whose newest record is older than the bound.

    The age goes by the record's timestamp, which is the producer's clock by default. A
    record stays until its whole segment is old, and the brokers have looked, every five
    minutes by default.

    Args:
        admin: The admin client.
        topic: The topic.
        max_age_ms: How many milliseconds to keep a record, at least one.
        segment_ms: After how many milliseconds a segment is closed, at the next record.
            A record may outlive the bound by this much.

    Raises:
        ValueError: The bound is not positive, or the broker refuses a setting, which
            the client would not tell; neither of the two is changed.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.

    Source:
        https://kafka.apache.org/43/configuration/topic-configs/#topicconfigs_retention.ms
    """
    if max_age_ms < 1:
        raise ValueError(f"a topic can't be bounded to {max_age_ms} ms")
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    config = {"retention.ms": str(max_age_ms), "segment.ms": str(segment_ms)}
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, config)
    answer = admin.alter_configs([resource], incremental=True)["topic"][topic]
    if answer != "OK":
        raise ValueError(answer)


# --8<-- [end:bound_by_time]


# --8<-- [start:delete_before]
def delete_before(admin: KafkaAdminClient, topic: str, moment_ms: int) -> int:
    """Let go of what comes before the first record from a moment on, now.

    Where timestamps are not in order, older records behind that one stay.

    Args:
        admin: The admin client.
        topic: The topic.
        moment_ms: Milliseconds since 1970, by the records' timestamps.

    Returns:
        How many records are gone, of all partitions together.

    Raises:
        ValueError: The moment is negative; nothing is sent.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.
        kafka.errors.PolicyViolationError: The topic is compacted.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/
    """
    if moment_ms < 0:
        raise ValueError(f"{moment_ms} is no moment")
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    partitions = [
        TopicPartition(topic, p["partition_index"]) for p in found["partitions"]
    ]
    starts = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    # The end comes first: what is appended after it is not deleted.
    ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    firsts = admin.list_partition_offsets(dict.fromkeys(partitions, moment_ms))
    new_starts = {}
    for each in partitions:
        # -1 says that there is no record from that moment on.
        first = firsts[each].offset if firsts[each].offset >= 0 else ends[each].offset
        if first > starts[each].offset:
            new_starts[each] = first
    admin.delete_records(new_starts)
    return sum(new_starts[each] - starts[each].offset for each in new_starts)


# --8<-- [end:delete_before]


def demo() -> None:
    """Bound a topic, see that old records are still served, and delete them."""
    hour_ms = 3_600_000
    now_ms = int(time.time() * 1000)
    with temporary_topic() as orders, KafkaAdminClient(**settings()) as admin:
        with KafkaProducer(**settings()) as producer:
            for number in range(250):
                stamp_ms = now_ms - 2 * hour_ms + number
                producer.send(orders, b"%d" % number, timestamp_ms=stamp_ms)
            producer.send(orders, b"250", timestamp_ms=now_ms)
        print("250 orders are two hours old, and order 250 is new")
        bound_by_time(admin, orders, max_age_ms=hour_ms, segment_ms=hour_ms // 6)
        print("the broker is to keep one hour, in segments of ten minutes")
        start = {"auto_offset_reset": "earliest"}
        with KafkaConsumer(orders, **start, **settings()) as consumer:
            print(f"a reader still gets order {int(next(consumer).value)} first")
        gone = delete_before(admin, orders, moment_ms=now_ms - hour_ms)
        print(f"deleting exactly takes {gone}")
        with KafkaConsumer(orders, **start, **settings()) as consumer:
            print(f"a reader now gets order {int(next(consumer).value)} first")


if __name__ == "__main__":
    demo()
