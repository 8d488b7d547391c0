"""Append to several topics in one transaction: all of it is read, or nothing.

Example:
    ```py
    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.append_atomically import append_atomically

    with (
        temporary_topic() as orders,
        temporary_topic() as stock,
        KafkaProducer(transactional_id=f"{orders}-1", **settings()) as producer,
    ):
        producer.init_transactions()
        events = [(orders, {"sku": "tea"}), (stock, {"tea": "-1"})]
        print(append_atomically(producer, events))
        #> [(0, 0), (0, 0)]
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

from kafka import KafkaProducer
from kafka.errors import KafkaError

# --8<-- [end:imports]
# isort: split
from itertools import islice

from kafka import KafkaConsumer
from kafka.errors import MessageSizeTooLargeError

from snippets.kafka import settings, temporary_topic


# --8<-- [start:append_atomically]
def append_atomically(
    producer: KafkaProducer, events: Sequence[tuple[str, Mapping[str, str]]]
) -> list[tuple[int, int]]:
    """Append events to topics in one transaction, and abort it if anything fails.

    A `read_committed` consumer gets all of them or none, each topic in its own time. What
    a killed producer left open is aborted by the next one with its `transactional_id`.

    Args:
        producer: A producer with a `transactional_id` that lasts over restarts and which
            no other process has at the same time, after `init_transactions`.
        events: A topic and an event for each record, sent as JSON.

    Returns:
        The partition and offset of each record, in the same order.

    Raises:
        ValueError: There are no events, or one has no fields; nothing is sent.
        kafka.errors.IllegalStateError: The producer has no `transactional_id`, or
            `init_transactions` was not called; nothing is sent.
        kafka.errors.ProducerFencedError: Another producer has the same
            `transactional_id` now; close this one. Nothing is read.
        kafka.errors.KafkaTimeoutError: A record was not acknowledged in time; the
            transaction is aborted.
        kafka.errors.KafkaError: A record is refused; the transaction is aborted.

    Source:
        https://kafka.apache.org/43/design/design/#using-transactions
    """
    if not events or not all(event for _, event in events):
        raise ValueError("there must be an event, and each needs a field")
    producer.begin_transaction()
    try:
        records = [
            producer.send(topic, json.dumps(dict(event)).encode())
            for topic, event in events
        ]
        places = [each.get() for each in records]
        producer.commit_transaction()
    except Exception:
        # A producer that was fenced can't abort, and its successor has done it.
        with suppress(KafkaError):
            producer.abort_transaction()
        raise
    return [(each.partition, each.offset) for each in places]


# --8<-- [end:append_atomically]


def demo() -> None:
    """Append to two topics, then abort half-way, and show who sees what."""
    with (
        temporary_topic() as orders,
        temporary_topic() as stock,
        KafkaProducer(transactional_id=f"{orders}-1", **settings()) as producer,
    ):
        producer.init_transactions()
        for number in ("0", "1", "2"):
            if number == "1":
                producer.begin_transaction()
                producer.send(orders, json.dumps({"order": number}).encode()).get()
                producer.abort_transaction()
                print(f"order {number}: aborted before the stock")
                continue
            events = [(orders, {"order": number}), (stock, {"tea": "-1"})]
            (_, order), (_, change) = append_atomically(producer, events)
            print(f"order {number}: offset {order} of orders, {change} of stock")
        try:
            picture = {"picture": "x" * 2_000_000}
            append_atomically(producer, [(orders, {"order": "3"}), (stock, picture)])
        except MessageSizeTooLargeError as error:
            print(f"order 3: {type(error).__name__}, aborted")
        options = {"auto_offset_reset": "earliest"}
        for level, count in (("read_committed", 2), ("read_uncommitted", 3)):
            reading = options | {"isolation_level": level}
            with KafkaConsumer(orders, **reading, **settings()) as consumer:
                found = [json.loads(each.value) for each in islice(consumer, count)]
            print(f"{level}: orders {[each['order'] for each in found]}")


if __name__ == "__main__":
    demo()
