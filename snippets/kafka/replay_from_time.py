"""Read a topic again from a clock time, or let a group do so.

Example:
    ```py
    from datetime import UTC, datetime, timedelta

    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.replay_from_time import replay_from_time

    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            producer.send(orders, b'{"sku": "tea"}').get()
        now = datetime.now(tz=UTC)
        print(list(replay_from_time(orders, now - timedelta(hours=1), **settings())))
        #> [{'sku': 'tea'}]
        print(list(replay_from_time(orders, now + timedelta(hours=1), **settings())))
        #> []
    ```
"""

# --8<-- [start:imports]
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

# --8<-- [end:imports]
# isort: split
from kafka import KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:replay_from_time]
def replay_from_time(
    topic: str, since: datetime, timeout_s: float = 30, **client: Any
) -> Iterator[dict[str, str]]:
    """Yield what was appended since then, up to what is there now; no group notices.

    The time of a record is the producer's when it was sent, unless the topic has
    `message.timestamp.type=LogAppendTime`.

    Args:
        topic: The topic.
        since: A time with a time zone, to the millisecond.
        timeout_s: How many seconds to wait for the next records.
        client: The connection settings.

    Yields:
        The events, in order within each partition.

    Raises:
        TypeError: The time has no time zone.
        LookupError: There is no such topic.
        kafka.errors.OffsetOutOfRangeError: The next records were deleted meanwhile.
        TimeoutError: The broker has sent nothing in time.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaConsumer.html
    """
    age = since - datetime.fromtimestamp(0, tz=UTC)
    since_ms = max(0, age // timedelta(milliseconds=1))
    with KafkaConsumer(
        # The default would skip to the end when the next record has been deleted.
        auto_offset_reset="none",
        allow_auto_create_topics=False,
        **client,
    ) as consumer:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise LookupError(f"there is no topic {topic}")
        places = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        found = consumer.offsets_for_times(dict.fromkeys(places, since_ms))
        for place, first in found.items():
            # Nothing is found if all records are older.
            consumer.seek(place, first.offset if first else ends[place])
        deadline = time.monotonic() + timeout_s
        while any(consumer.position(place) < ends[place] for place in places):
            batch = consumer.poll(timeout_ms=100)
            for place, records in batch.items():
                for record in records:
                    # Behind the first one there may be older ones.
                    if record.timestamp >= since_ms and record.offset < ends[place]:
                        yield json.loads(record.value)
            if batch:
                deadline = time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                raise TimeoutError(f"nothing from {topic} within {timeout_s} s")


# --8<-- [end:replay_from_time]


# --8<-- [start:move_group]
def move_group(topic: str, group: str, since: datetime, **client: Any) -> None:
    """Let a group get again, or skip to, what was appended since then.

    It needs a group whose consumers have stopped. Older records behind the first one
    found come again, too.

    Args:
        topic: The topic.
        group: The group's name.
        since: A time with a time zone, to the millisecond.
        client: The connection settings.

    Raises:
        TypeError: The time has no time zone.
        LookupError: The group has no place in such a topic.
        kafka.errors.CommitFailedError: The group has a consumer that runs.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaConsumer.html
    """
    age = since - datetime.fromtimestamp(0, tz=UTC)
    since_ms = max(0, age // timedelta(milliseconds=1))
    with KafkaConsumer(
        group_id=group,
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        **client,
    ) as consumer:
        numbers = consumer.partitions_for_topic(topic)
        places = [TopicPartition(topic, number) for number in numbers]
        if all(consumer.committed(place) is None for place in places):
            raise LookupError(f"group {group} has no place in a topic {topic}")
        ends = consumer.end_offsets(places)
        found = consumer.offsets_for_times(dict.fromkeys(places, since_ms))
        consumer.commit(
            {
                place: OffsetAndMetadata(first.offset if first else ends[place], "", -1)
                for place, first in found.items()
            }
        )


# --8<-- [end:move_group]


def read_as(topic: str, group: str) -> list[dict[str, str]]:
    """Read on in the group's name, as its only consumer, and leave it again."""
    with KafkaConsumer(
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **settings(),
    ) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        batch = consumer.poll(timeout_ms=30_000)
        consumer.commit()
    return [json.loads(each.value) for records in batch.values() for each in records]


def demo() -> None:
    """Replay the last of three records, for a reader and then for a group."""
    began = datetime.now(tz=UTC).replace(microsecond=0) - timedelta(hours=1)
    with temporary_topic() as orders:
        # Records of one batch come in one poll.
        with KafkaProducer(linger_ms=1000, **settings()) as producer:
            for minute in (0, 10, 20):
                at = began + timedelta(minutes=minute)
                event = json.dumps({"minute": str(minute)}).encode()
                producer.send(orders, event, timestamp_ms=int(at.timestamp() * 1000))
        print("records of minute 0, 10 and 20")
        for minute in (10, 30):
            since = began + timedelta(minutes=minute)
            events = list(replay_from_time(orders, since, **settings()))
            print(f"since minute {minute}: {events}")
        for minute in (10, 20):
            print(f"billing reads {read_as(orders, 'billing')}")
            since = began + timedelta(minutes=minute)
            move_group(orders, "billing", since, **settings())
            print(f"billing is moved to minute {minute}")
        print(f"billing reads {read_as(orders, 'billing')}")


if __name__ == "__main__":
    demo()
