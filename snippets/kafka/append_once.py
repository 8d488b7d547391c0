"""Append an event once, however often the client has to send it.

Example:
    ```py
    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.append_once import append_once

    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        print(append_once(producer, orders, {"sku": "tea"}, "order-7"))
        #> (0, 0)
        # A second call is a second record; the header tells that it is the same event.
        print(append_once(producer, orders, {"sku": "tea"}, "order-7"))
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


# --8<-- [start:append_once]
def append_once(
    producer: KafkaProducer,
    topic: str,
    event: Mapping[str, str],
    event_id: str,
    key: str | None = None,
) -> tuple[int, int]:
    """Append an event, and let the producer send it again until it is acknowledged.

    The broker drops what this producer sends again. It knows the producer's batches by
    number, not the event: a second call, or a restart, stores it again.

    Args:
        producer: With `enable_idempotence=True`, kafka-python's default.
        topic: The topic; a broker with default settings creates it if there is none.
        event: Field names and values, at least one; they are sent as JSON.
        event_id: What identifies the event, such as the order's number. It goes into a
            header, for consumers that deduplicate.
        key: Records of one key go to one partition, in order. None spreads them.

    Returns:
        The partition, and the record's offset in it.

    Raises:
        ValueError: The event has no fields, `event_id` is empty, or the producer isn't
            idempotent; nothing is sent.
        kafka.errors.KafkaTimeoutError: No acknowledgement came within
            `delivery_timeout_ms`: whether the record is stored is unknown, and calling
            again may store it twice. Make another producer, and `close(timeout=0)`
            this one.
        kafka.errors.KafkaError: The broker refuses the record.

    Source:
        https://kafka.apache.org/43/design/design/#message-delivery-semantics
    """
    if not producer.config["enable_idempotence"]:
        raise ValueError("the producer is not idempotent")
    if not event or not event_id:
        raise ValueError("an event needs an ID and at least one field")
    record = producer.send(
        topic,
        value=json.dumps(dict(event)).encode(),
        key=None if key is None else key.encode(),
        headers=[("event_id", event_id.encode())],
    )
    metadata = record.get()
    return metadata.partition, metadata.offset


# --8<-- [end:append_once]


def demo() -> None:
    """Append an event twice, and once more by a producer that has restarted."""
    with temporary_topic() as orders:
        for name in ("the producer", "the same, restarted"):
            with KafkaProducer(**settings()) as producer:
                print(f"{name}, idempotent: {producer.config['enable_idempotence']}")
                for call in (1, 2):
                    place = append_once(producer, orders, {"order": "7"}, "order-7")
                    print(f"order 7, call {call}: partition and offset {place}")
        with KafkaConsumer(
            orders, auto_offset_reset="earliest", **settings()
        ) as consumer:
            for record in islice(consumer, 4):
                (event_id,) = (each.decode() for _, each in record.headers)
                print(f"offset {record.offset}, event_id {event_id}")


if __name__ == "__main__":
    demo()
