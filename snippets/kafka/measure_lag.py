"""Measure how far a group is behind: per partition, without joining the group.

Example:
    ```py
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.measure_lag import measure_lag

    group = {"group_id": "billing", "auto_offset_reset": "earliest"}
    with temporary_topic() as orders, KafkaAdminClient(**settings()) as admin:
        with KafkaProducer(**settings()) as producer:
            for sku in (b"tea", b"milk", b"jam"):
                producer.send(orders, sku)
        with KafkaConsumer(orders, **group, **settings()) as consumer:
            next(consumer)
            consumer.commit()
            print(measure_lag(admin, orders, "billing"))
            #> {0: 2}
    ```
"""

# --8<-- [start:imports]
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import UnknownTopicOrPartitionError

# --8<-- [end:imports]
# isort: split
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata

from snippets.kafka import settings, temporary_topic


# --8<-- [start:measure_lag]
def measure_lag(admin: KafkaAdminClient, topic: str, group: str) -> dict[int, int]:
    """Count the offsets that a group still has before it, in each partition.

    What a consumer has got and not committed is included. So are offsets that hold no
    record: those of transaction markers, and of records that compaction has taken.

    Args:
        admin: The admin client. The group doesn't notice it.
        topic: The topic.
        group: The group's name.

    Returns:
        The lag by partition. Where the group has never committed, or its next records
        are deleted, it counts from the first record.

    Raises:
        ValueError: There is no such group.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.
        kafka.errors.CoordinatorNotAvailableError: No group has ever joined in this
            cluster: the topic for offsets is being made. Try again.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/#managing-consumer-groups
    """
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    if admin.describe_groups([group])[group]["group_state"] == "Dead":
        raise ValueError(f"there is no group {group}")
    partitions = [
        TopicPartition(topic, p["partition_index"]) for p in found["partitions"]
    ]
    # The commits come first: asked for later, they could be beyond the ends.
    committed = admin.list_group_offsets({group: partitions})[group]
    starts = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    return {
        each.partition: ends[each].offset
        - max(committed[each].offset, starts[each].offset)
        for each in sorted(partitions)
    }


# --8<-- [end:measure_lag]


def demo() -> None:
    """Let a group fall behind, delete what it has not read, and let it catch up."""
    with (
        temporary_topic(partitions=2) as orders,
        KafkaAdminClient(**settings()) as admin,
    ):
        with KafkaProducer(**settings()) as producer:
            for number in range(6):
                producer.send(orders, b"%d" % number, partition=number % 2)
        first, second = TopicPartition(orders, 0), TopicPartition(orders, 1)
        with KafkaConsumer(
            orders,
            group_id="billing",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **settings(),
        ) as consumer:
            next(consumer)
            lag = measure_lag(admin, orders, "billing")
            print(f"6 orders, billing has taken one and committed none: {lag}")
            consumer.commit({first: OffsetAndMetadata(2, "", -1)})
            print(f"it commits 2 of one: {measure_lag(admin, orders, 'billing')}")
            admin.delete_records({second: 2})
            lag = measure_lag(admin, orders, "billing")
            print(f"2 of the other are deleted unread: {lag}")
            end = OffsetAndMetadata(3, "", -1)
            consumer.commit({first: end, second: end})
            print(f"it commits all: {measure_lag(admin, orders, 'billing')}")
        print(f"it has left: {measure_lag(admin, orders, 'billing')}")


if __name__ == "__main__":
    demo()
