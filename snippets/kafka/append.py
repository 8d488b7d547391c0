"""Append an event to a topic, and learn where it landed.

Example:
    ```py
    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.append import append

    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        print(append(producer, orders, {"sku": "tea", "quantity": "2"}))
        #> (0, 0)
        print(append(producer, orders, {"sku": "milk", "quantity": "1"}))
        #> (0, 1)
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Mapping

from kafka import KafkaProducer

# --8<-- [end:imports]
# isort: split
from itertools import islice

from kafka import KafkaConsumer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:append]
def append(
    producer: KafkaProducer, topic: str, event: Mapping[str, str], key: str | None = None
) -> tuple[int, int]:
    """Append an event to a topic as one record, and wait for the acknowledgement.

    With `acks="all"`, kafka-python's default, it means that every replica in sync has the
    record in the page cache of its machine: nobody has waited for a disk.

    Args:
        producer: Sends the record; it may have others under way.
        topic: The topic; a broker with default settings creates it if there is none.
        event: Field names and values, at least one; they are sent as JSON.
        key: Records of one key go to one partition, in order. None spreads them.

    Returns:
        The partition, and the record's offset in it.

    Raises:
        ValueError: The event has no fields; nothing is sent.
        kafka.errors.KafkaTimeoutError: No acknowledgement came within
            `delivery_timeout_ms`: whether the record is stored is unknown.
        kafka.errors.KafkaError: The broker refuses the record.

    Source:
        https://kafka.apache.org/43/configuration/producer-configs/#producerconfigs_acks
    """
    if not event:
        raise ValueError("an event needs at least one field")
    record = producer.send(
        topic,
        value=json.dumps(dict(event)).encode(),
        key=None if key is None else key.encode(),
    )
    metadata = record.get()
    return metadata.partition, metadata.offset


# --8<-- [end:append]


def demo() -> None:
    """Append three events, and read back what the topic holds."""
    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            for sku in ("tea", "milk", "jam"):
                event = {"sku": sku, "quantity": "1"}
                partition, offset = append(producer, orders, event)
                print(f"{sku} is at offset {offset} of partition {partition}")
        with KafkaConsumer(
            orders, auto_offset_reset="earliest", **settings()
        ) as consumer:
            for record in islice(consumer, 3):
                print(record.offset, record.value.decode())


if __name__ == "__main__":
    demo()
