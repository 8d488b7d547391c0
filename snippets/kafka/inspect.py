"""See what a topic holds, and who in a group has which partitions.

Example:
    ```py
    from kafka import KafkaAdminClient, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.inspect import inspect_log

    with temporary_topic() as orders, KafkaAdminClient(**settings()) as admin:
        with KafkaProducer(**settings()) as producer:
            for sku in (b"tea", b"milk"):
                producer.send(orders, sku)
        print(inspect_log(admin, orders))
        #> {0: {'leader': 1, 'replicas': [1], 'in_sync': [1], 'start': 0, 'end': 2}}
    ```
"""

# --8<-- [start:imports]
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import UnknownTopicOrPartitionError

# --8<-- [end:imports]
# isort: split
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata

from snippets.kafka import settings, temporary_topic


# --8<-- [start:inspect_log]
def inspect_log(admin: KafkaAdminClient, topic: str) -> dict[int, dict[str, Any]]:
    """Tell what each partition of a topic holds, and where. Nothing is changed.

    Args:
        admin: The admin client.
        topic: The topic.

    Returns:
        By partition: `leader`, `replicas` and `in_sync`, ids of brokers; `start` and
        `end`, the first offset and the one after the last.

    Raises:
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/
    """
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    described = {
        TopicPartition(topic, p["partition_index"]): p for p in found["partitions"]
    }
    starts = admin.list_partition_offsets(dict.fromkeys(described, OffsetSpec.EARLIEST))
    ends = admin.list_partition_offsets(dict.fromkeys(described, OffsetSpec.LATEST))
    return {
        each.partition: {
            "leader": described[each]["leader_id"],
            "replicas": described[each]["replica_nodes"],
            "in_sync": described[each]["isr_nodes"],
            "start": starts[each].offset,
            "end": ends[each].offset,
        }
        for each in sorted(described)
    }


# --8<-- [end:inspect_log]


# --8<-- [start:inspect_group]
def inspect_group(admin: KafkaAdminClient, group: str) -> dict[str, Any]:
    """Tell who is in a group, with which partitions, and what is committed.

    Nothing is changed. What a member has got and not committed, Kafka can't tell.

    Args:
        admin: The admin client.
        group: The group's name.

    Returns:
        `state`, such as `Stable` or `Empty`; `members`, a list of `client`, `host` and
        `partitions` of each; `committed`, the next offset by partition.

    Raises:
        ValueError: There is no such group.
        kafka.errors.CoordinatorNotAvailableError: No group has ever joined in this
            cluster: the topic for offsets is being made. Try again.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/#managing-consumer-groups
    """
    found = admin.describe_groups([group])[group]
    if found["group_state"] == "Dead":
        raise ValueError(f"there is no group {group}")
    offsets = admin.list_group_offsets(group)[group]
    return {
        "state": found["group_state"],
        "members": [
            {
                "client": each["client_id"],
                "host": each["client_host"],
                "partitions": [
                    TopicPartition(assigned["topic"], number)
                    for assigned in each["member_assignment"]["assigned_partitions"]
                    for number in assigned["partitions"]
                ],
            }
            for each in found["members"]
        ],
        "committed": {each: offsets[each].offset for each in offsets},
    }


# --8<-- [end:inspect_group]


def demo() -> None:
    """Let a consumer take records and commit some, and look at it, here and gone."""
    with (
        temporary_topic(partitions=2) as orders,
        KafkaAdminClient(**settings()) as admin,
    ):
        with KafkaProducer(**settings()) as producer:
            for number in range(4):
                producer.send(orders, b"%d" % number, partition=number % 2)
        first = TopicPartition(orders, 0)
        billing = f"billing-{orders}"
        with KafkaConsumer(
            orders,
            group_id=billing,
            client_id="worker-1",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **settings(),
        ) as consumer:
            next(consumer)
            consumer.commit({first: OffsetAndMetadata(1, "", -1)})
            admin.delete_records({first: 1})
            for number, partition in inspect_log(admin, orders).items():
                print(f"partition {number}: {partition}")
            group = inspect_group(admin, billing)
            print(f"the group is {group['state']}")
            for member in group["members"]:
                numbers = [each.partition for each in member["partitions"]]
                print(f"{member['client']} has partitions {numbers}")
        group = inspect_group(admin, billing)
        print(f"worker-1 leaves: the group is {group['state']}, {group['members']}")
        print(f"committed of partition 0: {group['committed'][first]}")


if __name__ == "__main__":
    demo()
