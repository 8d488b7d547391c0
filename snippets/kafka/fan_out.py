"""Let several groups read one topic, each at its own pace and from its own start.

Example:
    ```py
    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.fan_out import add_group, read_as

    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        producer.send(orders, b'{"sku": "tea"}').get()
        add_group(orders, "billing", from_beginning=True, **settings())
        add_group(orders, "alerts", from_beginning=False, **settings())
        producer.send(orders, b'{"sku": "milk"}').get()
        print(read_as(orders, "billing", **settings()))
        #> [{'sku': 'tea'}, {'sku': 'milk'}]
        print(read_as(orders, "alerts", **settings()))
        #> [{'sku': 'milk'}]
    ```
"""

# --8<-- [start:imports]
import json
import time
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

# --8<-- [end:imports]
# isort: split
from kafka import KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:add_group]
def add_group(topic: str, group: str, *, from_beginning: bool, **client: Any) -> bool:
    """Give a group its place in a topic; leave alone one that has one.

    Kafka needs no such call: a group without offsets starts where
    `auto.offset.reset` says. But "latest" then means whenever its first consumer gets
    its partitions, and what was appended before that is passed over.

    Args:
        topic: The topic, which exists.
        group: The group's name, without a consumer that runs.
        from_beginning: Whether the group gets what the topic holds already, or only
            what is appended from now on.
        client: The connection settings.

    Returns:
        Whether the group is new to the topic.

    Raises:
        LookupError: There is no such topic.

    Source:
        https://kafka.apache.org/43/configuration/consumer-configs/#consumerconfigs_auto.offset.reset
    """
    with KafkaConsumer(
        group_id=group,
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        **client,
    ) as consumer:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise LookupError(f"there is no topic {topic}")
        places = [TopicPartition(topic, number) for number in numbers]
        new = [place for place in places if consumer.committed(place) is None]
        bounds = consumer.beginning_offsets if from_beginning else consumer.end_offsets
        starts = {
            place: OffsetAndMetadata(offset, "", -1)
            for place, offset in bounds(new).items()
        }
        if starts:
            consumer.commit(starts)
    return bool(starts)


# --8<-- [end:add_group]


# --8<-- [start:read_as]
def read_as(
    topic: str, group: str, count: int = 100, timeout_s: float = 60, **client: Any
) -> list[dict[str, str]]:
    """Read what a group has not seen yet, and acknowledge it.

    No other group notices: each has its own committed offset per partition.

    Args:
        topic: The topic.
        group: The group's name, which has its place in the topic.
        count: How many records to read at the most.
        timeout_s: How many seconds to wait until the group gives out a partition.
        client: The connection settings.

    Returns:
        The events; empty if there is nothing new.

    Raises:
        kafka.errors.NoOffsetForPartitionError: The group has no place in the topic.
        TimeoutError: The group has given out no partition: other consumers have all.

    Source:
        https://kafka.apache.org/43/design/design/#consumer-position
    """
    with KafkaConsumer(
        topic,
        group_id=group,
        auto_offset_reset="none",
        enable_auto_commit=False,
        max_poll_records=count,
        **client,
    ) as consumer:
        # kafka-python 3.0.12 can forget what it was assigned if it learns of the topic
        # while it joins, so let it know the topic before the first poll.
        consumer.partitions_for_topic(topic)
        deadline = time.monotonic() + timeout_s
        while not consumer.assignment():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no partition of {topic} for {group}")
            batch = consumer.poll(timeout_ms=100)
        batch = batch or consumer.poll(timeout_ms=1000)
        consumer.commit()
        return [json.loads(each.value) for some in batch.values() for each in some]


# --8<-- [end:read_as]


def demo() -> None:
    """Add a group before the first record, one after it; each reads at its own pace."""
    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        producer.send(orders, b'{"sku": "tea"}').get()
        print("tea is appended")
        add_group(orders, "billing", from_beginning=True, **settings())
        add_group(orders, "alerts", from_beginning=False, **settings())
        print("billing starts at the beginning, alerts starts now")
        producer.send(orders, b'{"sku": "milk"}').get()
        print("milk is appended")
        for group in ("billing", "alerts", "billing"):
            print(f"{group} reads {read_as(orders, group, **settings())}")


if __name__ == "__main__":
    demo()
