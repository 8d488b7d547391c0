"""Acknowledge records of a group up to an offset, after their work.

Example:
    ```py
    from kafka import KafkaConsumer, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.acknowledge import acknowledge, unacknowledged

    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            for number in range(3):
                producer.send(orders, str(number).encode()).get()
        with KafkaConsumer(
            orders,
            group_id="billing",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **settings(),
        ) as consumer:
            records = [next(consumer) for _ in range(3)]
            acknowledge(consumer, orders, 0, records[1].offset)
            print(list(unacknowledged(consumer, orders, 0)))
            #> [2]
    ```
"""

# --8<-- [start:imports]
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

# --8<-- [end:imports]
# isort: split
from kafka import KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:acknowledge]
def acknowledge(consumer: KafkaConsumer, topic: str, partition: int, offset: int) -> None:
    """Acknowledge a record, and with it every record before it in the partition.

    The number that Kafka keeps is the next one to read: the offset plus one.

    Args:
        consumer: A consumer that the group has given the partition to.
        topic: The topic.
        partition: The partition's number.
        offset: The record's offset.

    Raises:
        ValueError: The offset is negative, or behind what is acknowledged already: a
            commit would move the group back, and bring done work again.
        kafka.errors.CommitFailedError: The group has given the partition to another.

    Source:
        https://kafka.apache.org/43/design/design/#consumer-position
    """
    place = TopicPartition(topic, partition)
    committed = consumer.committed(place) or 0
    if offset < committed:
        raise ValueError(f"offset {offset} is acknowledged already: {committed} is next")
    consumer.commit({place: OffsetAndMetadata(offset + 1, "", -1)})


# --8<-- [end:acknowledge]


# --8<-- [start:unacknowledged]
def unacknowledged(consumer: KafkaConsumer, topic: str, partition: int) -> range:
    """Return what the group has not acknowledged of a partition, read or not.

    Args:
        consumer: A consumer of the group.
        topic: The topic.
        partition: The partition's number.

    Returns:
        The offsets, without a gap.

    Raises:
        kafka.errors.KafkaError: The broker can't be asked.

    Source:
        https://kafka.apache.org/43/design/design/#consumer-position
    """
    place = TopicPartition(topic, partition)
    begin = consumer.committed(place)
    if begin is None:
        begin = consumer.beginning_offsets([place])[place]
    return range(begin, consumer.end_offsets([place])[place])


# --8<-- [end:unacknowledged]


def demo() -> None:
    """Acknowledge the second of three records; show what a crash would bring again."""
    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            for number in range(3):
                producer.send(orders, str(number).encode()).get()
        with KafkaConsumer(
            orders,
            group_id="billing",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **settings(),
        ) as consumer:
            records = [next(consumer) for _ in range(3)]
            print(f"worker-1 takes {[record.value.decode() for record in records]}")
            acknowledge(consumer, orders, 0, records[1].offset)
            print("order 1 is done first, and acknowledged: so is order 0")
            print(f"still to do: {list(unacknowledged(consumer, orders, 0))}")
            acknowledge(consumer, orders, 0, records[2].offset)
            print(f"after the rest: {list(unacknowledged(consumer, orders, 0))}")
            try:
                acknowledge(consumer, orders, 0, records[1].offset)
            except ValueError as error:
                print(f"order 1 again: {error}")


if __name__ == "__main__":
    demo()
