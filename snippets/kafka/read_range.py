"""Read a part of a partition in pages, oldest or newest first, without a group.

Example:
    ```py
    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.read_range import read_latest, read_range

    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            for number in range(4):
                producer.send(orders, b'{"order": "%d"}' % number).get()
        part = read_range(orders, 0, 1, 2, page=1, **settings())
        print([event for _, event in part])
        #> [{'order': '1'}, {'order': '2'}]
        print([event for _, event in read_latest(orders, 0, 2, **settings())])
        #> [{'order': '3'}, {'order': '2'}]
    ```
"""

# --8<-- [start:imports]
import json
import time
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition

# --8<-- [end:imports]
# isort: split
from kafka import KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:read_range]
def read_range(
    topic: str,
    partition: int,
    first: int = 0,
    last: int | None = None,
    page: int = 100,
    timeout_s: float = 30,
    **client: Any,
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the records between two offsets, oldest first, a page at a time.

    It ends with what the partition holds when it begins, however fast others append, and
    yields no record twice.

    Args:
        topic: The topic.
        partition: The partition's number.
        first: The offset to begin with; 0 for the oldest record that is still there.
        last: The offset to end with; `None` for the newest.
        page: How many records a poll returns at the most. The consumer fetches more at
            once than that, and keeps it.
        timeout_s: How many seconds to wait for the next page.
        client: The connection settings.

    Yields:
        Each record's offset and event. Records deleted before the call are left out.

    Raises:
        ValueError: An offset is negative, or the page is smaller than 1.
        LookupError: There is no such partition.
        kafka.errors.OffsetOutOfRangeError: The next records were deleted meanwhile.
        TimeoutError: The broker has sent nothing in time.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaConsumer.html
    """
    if page < 1 or first < 0 or (last is not None and last < 0):
        raise ValueError(f"offsets {first} to {last} in pages of {page} are none")
    place = TopicPartition(topic, partition)
    with KafkaConsumer(
        # The default would skip to the end when the next record has been deleted.
        auto_offset_reset="none",
        allow_auto_create_topics=False,
        max_poll_records=page,
        **client,
    ) as consumer:
        if partition not in consumer.partitions_for_topic(topic):
            raise LookupError(f"there is no partition {partition} of topic {topic}")
        consumer.assign([place])
        end = consumer.end_offsets([place])[place]
        if last is not None:
            end = min(end, last + 1)
        consumer.seek(place, max(first, consumer.beginning_offsets([place])[place]))
        deadline = time.monotonic() + timeout_s
        # The position and not a record's offset: the last offsets may hold no record, and
        # the poll that passes over them returns nothing.
        while consumer.position(place) < end:
            batch = consumer.poll(timeout_ms=100)
            for record in batch.get(place, []):
                if record.offset < end:
                    yield record.offset, json.loads(record.value)
            if batch:
                deadline = time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                raise TimeoutError(f"nothing from {topic} within {timeout_s} s")


# --8<-- [end:read_range]


# --8<-- [start:read_latest]
def read_latest(
    topic: str, partition: int, count: int, **client: Any
) -> list[tuple[int, dict[str, str]]]:
    """Return the last records of a partition, newest first.

    Kafka reads forward only: this steps back by `count` offsets, and further while there
    are offsets without a record.

    Args:
        topic: The topic.
        partition: The partition's number.
        count: How many records to return at the most.
        client: The connection settings.

    Returns:
        Each record's offset and event.

    Raises:
        ValueError: The count is smaller than 1.
        LookupError: There is no such partition.
        kafka.errors.OffsetOutOfRangeError: The next records were deleted meanwhile.
        TimeoutError: The broker has sent nothing in time.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaConsumer.html
    """
    if count < 1:
        raise ValueError(f"the last {count} records are none")
    place = TopicPartition(topic, partition)
    with KafkaConsumer(allow_auto_create_topics=False, **client) as consumer:
        if partition not in consumer.partitions_for_topic(topic):
            raise LookupError(f"there is no partition {partition} of topic {topic}")
        begin = consumer.beginning_offsets([place])[place]
        end = consumer.end_offsets([place])[place]
    found: list[tuple[int, dict[str, str]]] = []
    first, step = end, count
    while len(found) < count and first > begin:
        last, first = first - 1, max(begin, first - step)
        found = [*read_range(topic, partition, first, last, **client), *found]
        step *= 2
    return found[: -count - 1 : -1]


# --8<-- [end:read_latest]


def demo() -> None:
    """Read five records in pages while a sixth arrives, then a part, then the last."""
    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        for number in range(5):
            producer.send(orders, json.dumps({"order": str(number)}).encode()).get()
        print("all of it, two at a time, while one more is appended:")
        for offset, event in read_range(orders, 0, page=2, **settings()):
            print(offset, event)
            if event["order"] == "0":
                producer.send(orders, b'{"order": "5"}').get()
        print("after order 1, up to order 3:")
        for offset, event in read_range(orders, 0, 2, 3, **settings()):
            print(offset, event)
        print("the last two, newest first:")
        for offset, event in read_latest(orders, 0, 2, **settings()):
            print(offset, event)


if __name__ == "__main__":
    demo()
