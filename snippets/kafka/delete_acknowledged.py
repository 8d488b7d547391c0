"""Delete what every group of a topic has committed, and nothing else.

Example:
    ```py
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.delete_acknowledged import (
        acknowledge_and_delete,
        delete_acknowledged,
    )

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with (
        temporary_topic() as orders,
        KafkaAdminClient(**settings()) as admin,
        KafkaConsumer(orders, **group, **settings()) as consumer,
        KafkaProducer(**settings()) as producer,
    ):
        for sku in (b"tea", b"milk"):
            producer.send(orders, sku).get()
        print(next(consumer).value)
        #> b'tea'
        print(delete_acknowledged(admin, orders, ["billing"]))
        #> 0
        tea = {TopicPartition(orders, 0): 1}
        print(acknowledge_and_delete(consumer, admin, tea, ["billing"]))
        #> 1
    ```
"""

# --8<-- [start:imports]
from collections.abc import Collection, Mapping

from kafka import KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import UnknownTopicOrPartitionError

# --8<-- [end:imports]
# isort: split
from kafka import KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:delete_acknowledged]
def delete_acknowledged(
    admin: KafkaAdminClient, topic: str, groups: Collection[str]
) -> int:
    """Delete the records before the lowest offset that the groups have committed.

    The topic doesn't know its groups: whoever is not named loses what it has not read.
    A named group without a commit for a partition keeps all of that partition.

    Args:
        admin: The admin client.
        topic: The topic.
        groups: The names of all groups that read it, at least one.

    Returns:
        How many records are gone, of all partitions together.

    Raises:
        ValueError: There is no group; nothing is deleted.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.
        kafka.errors.PolicyViolationError: The topic is compacted.
        kafka.errors.CoordinatorNotAvailableError: No group has ever joined in this
            cluster: the topic for offsets is being made. Try again.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/
    """
    if not groups:
        raise ValueError(f"nobody acknowledges {topic}: there is no group")
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    partitions = [
        TopicPartition(topic, p["partition_index"]) for p in found["partitions"]
    ]
    starts = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    committed = admin.list_group_offsets(dict.fromkeys(groups, partitions))
    new_starts = {}
    for each in partitions:
        # -1 says that the group has never committed.
        lowest = min(committed[group][each].offset for group in groups)
        if lowest > starts[each].offset:
            new_starts[each] = lowest
    admin.delete_records(new_starts)
    return sum(new_starts[each] - starts[each].offset for each in new_starts)


# --8<-- [end:delete_acknowledged]


# --8<-- [start:acknowledge_and_delete]
def acknowledge_and_delete(
    consumer: KafkaConsumer,
    admin: KafkaAdminClient,
    next_offsets: Mapping[TopicPartition, int],
    groups: Collection[str],
) -> int:
    """Commit, and delete what none of the groups needs any more.

    These are two steps: if the client is killed between them, the next call deletes
    what this one has left.

    Args:
        consumer: A consumer of the group that has done its work.
        admin: The admin client.
        next_offsets: Of each partition, the offset after the last record that is done.
        groups: The names of all groups that read the topics, this one included.

    Returns:
        How many records are gone.

    Raises:
        ValueError: There is no group; nothing is committed.
        kafka.errors.CommitFailedError: The group has given the partition to another
            consumer meanwhile; nothing is deleted.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/
    """
    if not groups:
        raise ValueError("nobody acknowledges: there is no group")
    consumer.commit(
        {each: OffsetAndMetadata(next_offsets[each], "", -1) for each in next_offsets}
    )
    topics = sorted({each.topic for each in next_offsets})
    return sum(delete_acknowledged(admin, topic, groups) for topic in topics)


# --8<-- [end:acknowledge_and_delete]


def demo() -> None:
    """Let one group finish, another lag behind, and a third one never read."""
    with temporary_topic() as orders, KafkaAdminClient(**settings()) as admin:
        with KafkaProducer(**settings()) as producer:
            for number in range(4):
                producer.send(orders, b"%d" % number)
        partition = TopicPartition(orders, 0)
        own = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
        with (
            KafkaConsumer(orders, group_id="billing", **own, **settings()) as billing,
            KafkaConsumer(orders, group_id="shipping", **own, **settings()) as shipping,
        ):
            for consumer in (billing, shipping):
                next(consumer)
            groups = ["billing", "shipping", "audit"]
            gone = acknowledge_and_delete(billing, admin, {partition: 4}, groups)
            print(f"billing commits all 4: {gone} are deleted")
            gone = acknowledge_and_delete(shipping, admin, {partition: 1}, groups)
            print(
                f"shipping commits record 0: {gone} are deleted, audit has read nothing"
            )
            groups.remove("audit")
            gone = delete_acknowledged(admin, orders, groups)
            print(f"audit is given up: {gone} are deleted")
            with KafkaConsumer(
                orders, auto_offset_reset="earliest", **settings()
            ) as reader:
                print(f"left: {[int(next(reader).value) for _ in range(3)]}")
            gone = acknowledge_and_delete(shipping, admin, {partition: 4}, groups)
            print(f"shipping commits the rest: {gone} are deleted")


if __name__ == "__main__":
    demo()
