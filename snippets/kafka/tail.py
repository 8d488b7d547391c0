"""Follow the new records of a topic, and miss none between two calls.

Example:
    ```py
    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.tail import start, tail

    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        producer.send(orders, b'{"sku": "tea"}').get()
        with start(orders, **settings()) as consumer:
            producer.send(orders, b'{"sku": "milk"}').get()
            for _, event in tail(consumer, timeout_ms=30_000):
                print(event)
                #> {'sku': 'milk'}
            print(tail(consumer, timeout_ms=10))
            #> []
    ```
"""

# --8<-- [start:imports]
import json
from contextlib import ExitStack
from typing import Any

from kafka import KafkaConsumer, TopicPartition

# --8<-- [end:imports]
# isort: split
from kafka import KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:start]
def start(topic: str, **client: Any) -> KafkaConsumer:
    """Make a consumer without a group for which everything is new from now on.

    Args:
        topic: The topic. Partitions that are added to it later are not followed.
        client: The connection settings.

    Returns:
        A consumer at the end of each partition. Close it.

    Raises:
        LookupError: There is no such topic.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaConsumer.html
    """
    with ExitStack() as on_error:
        consumer = on_error.enter_context(
            KafkaConsumer(
                # The default would skip to the end when retention overtakes the reader.
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                **client,
            )
        )
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise LookupError(f"there is no topic {topic}")
        places = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(places)
        # Not `seek_to_end`: it looks for the end when the first poll comes.
        for place, end in consumer.end_offsets(places).items():
            consumer.seek(place, end)
        on_error.pop_all()
    return consumer


# --8<-- [end:start]


# --8<-- [start:tail]
def tail(
    consumer: KafkaConsumer, timeout_ms: int = 1000, count: int = 100
) -> list[tuple[tuple[int, int], dict[str, str]]]:
    """Return the records after the consumer's position; wait if there is none yet.

    Whatever arrives between two calls is in the second: the consumer keeps the position.

    Args:
        consumer: A consumer that `start` has made.
        timeout_ms: How many milliseconds to wait.
        count: How many records to return at the most.

    Returns:
        Each record's partition and offset, and its event; empty if none has come in
        time. Records of a partition are in order.

    Raises:
        ValueError: A number is smaller than 1.
        kafka.errors.OffsetOutOfRangeError: The next record has been deleted.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaConsumer.html
    """
    if timeout_ms < 1 or count < 1:
        raise ValueError(f"can't follow {count} for {timeout_ms} ms")
    batch = consumer.poll(timeout_ms=timeout_ms, max_records=count)
    return [
        ((record.partition, record.offset), json.loads(record.value))
        for records in batch.values()
        for record in records
    ]


# --8<-- [end:tail]


def demo() -> None:
    """Follow a topic, with records that arrive between the calls; then by seeking."""
    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        producer.send(orders, b'{"sku": "tea"}').get()
        place = TopicPartition(orders, 0)
        with start(orders, **settings()) as consumer:
            print(f"tea is there; start at offset {consumer.position(place)}")
            producer.send(orders, b'{"sku": "milk"}').get()
            print("milk arrives before the first call")
            for at, event in tail(consumer, timeout_ms=30_000):
                print(at, event)
            for sku in (b"rice", b"salt"):
                producer.send(orders, b'{"sku": "%b"}' % sku)
            producer.flush()
            print("rice and salt arrive between two calls")
            while consumer.position(place) < consumer.end_offsets([place])[place]:
                for at, event in tail(consumer, timeout_ms=30_000):
                    print(at, event)
            print(f"nothing within 50 ms: {tail(consumer, timeout_ms=50)}")
            consumer.seek_to_end()
            producer.send(orders, b'{"sku": "soap"}').get()
            print("soap arrives after seek_to_end, before the next call")
            print(f"the next call: {tail(consumer, timeout_ms=500)}")


if __name__ == "__main__":
    demo()
