"""Spread a log over the brokers of a cluster, and keep the order of each key.

Example:
    ```py
    from kafka import KafkaAdminClient, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.spread_over_a_cluster import append_to_shard, locate

    with (
        temporary_topic(partitions=4) as orders,
        KafkaProducer(**settings()) as producer,
        KafkaAdminClient(**settings()) as admin,
    ):
        partition, _ = append_to_shard(producer, orders, "ann", {"sku": "tea"})
        same, offset = append_to_shard(producer, orders, "ann", {"sku": "milk"})
        print(partition == same, offset)
        #> True 1
        print(list(locate(admin, orders)))
        #> [0, 1, 2, 3]
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Mapping

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import UnknownTopicOrPartitionError

# --8<-- [end:imports]
# isort: split
from snippets.kafka import settings, temporary_topic


# --8<-- [start:append_to_shard]
def append_to_shard(
    producer: KafkaProducer, topic: str, key: str, event: Mapping[str, str]
) -> tuple[int, int]:
    """Append an event to the partition that its key belongs to, and wait for the answer.

    Records of one key go to one partition, in order. The partitions are on different
    brokers, and the producer knows which.

    Args:
        producer: Sends the record.
        topic: The topic, created with as many partitions as will share the work.
        key: What the order is kept for, such as a customer.
        event: Field names and values, at least one; they are sent as JSON.

    Returns:
        The partition, and the record's offset in it.

    Raises:
        ValueError: The event has no fields; nothing is sent.
        kafka.errors.KafkaError: As for a topic of one partition.

    Source:
        https://kafka.apache.org/43/design/design/#load-balancing
    """
    if not event:
        raise ValueError("an event needs at least one field")
    value = json.dumps(dict(event)).encode()
    metadata = producer.send(topic, value=value, key=key.encode()).get()
    return metadata.partition, metadata.offset


# --8<-- [end:append_to_shard]


# --8<-- [start:locate]
def locate(admin: KafkaAdminClient, topic: str) -> dict[int, int]:
    """Tell which broker leads each partition: it takes the writes, and most reads.

    Args:
        admin: The admin client.
        topic: The topic.

    Returns:
        The leader's node id by partition; -1 where no replica can lead.

    Raises:
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.

    Source:
        https://kafka.apache.org/43/design/design/#replication
    """
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    leaders = {each["partition_index"]: each["leader_id"] for each in found["partitions"]}
    return dict(sorted(leaders.items()))


# --8<-- [end:locate]


def demo() -> None:
    """Spread the orders of four customers over three partitions."""
    with (
        temporary_topic(partitions=3) as orders,
        KafkaProducer(**settings()) as producer,
        KafkaAdminClient(**settings()) as admin,
    ):
        for customer in ("ann", "bob", "cleo", "dan", "ann"):
            event = {"customer": customer}
            partition, offset = append_to_shard(producer, orders, customer, event)
            print(f"{customer}'s order is in partition {partition}, offset {offset}")
        leaders = locate(admin, orders)
        without = [partition for partition, leader in leaders.items() if leader < 0]
        print(f"partitions {list(leaders)}, without a leader: {without}")


if __name__ == "__main__":
    demo()
