"""Append many events in few requests, and learn what became of each.

Example:
    ```py
    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.append_in_batches import append_in_batches

    batching = {"linger_ms": 20, "batch_size": 64 * 1024}
    with temporary_topic() as orders, KafkaProducer(**batching, **settings()) as producer:
        events = [{"order": str(number)} for number in range(1000)]
        results = append_in_batches(producer, orders, events)
        print(len(results), results[0], results[-1])
        #> 1000 (0, 0) (0, 999)
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Mapping, Sequence

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

# --8<-- [end:imports]
# isort: split
from itertools import islice

from kafka import KafkaConsumer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:append_in_batches]
def append_in_batches(
    producer: KafkaProducer,
    topic: str,
    events: Sequence[Mapping[str, str]],
    key: str | None = None,
) -> list[tuple[int, int] | KafkaError]:
    """Append events, waiting for the acknowledgments at the end; keep each one's own.

    The producer fills batches while earlier ones are under way. The order holds within a
    partition.

    Args:
        producer: Its `batch_size` (bytes) and `linger_ms` say how full batches get.
        topic: The topic; a broker with default settings creates it if there is none.
        events: Field names and values of each, at least one; they are sent as JSON.
        key: Records of one key go to one partition, in order. None spreads them.

    Returns:
        For each event, in the same place, its partition and offset or its error: after
        `kafka.errors.KafkaTimeoutError` it is unknown whether the record is stored,
        after another `kafka.errors.KafkaError` it is not. If the broker has refused one,
        close the producer and make another: this one fails all that comes after.

    Raises:
        ValueError: An event has no fields; nothing is sent.
        kafka.errors.KafkaTimeoutError: The topic isn't found within `max_block_ms`;
            nothing is sent.

    Source:
        https://kafka.apache.org/43/design/design/#asynchronous-send
    """
    if not all(events):
        raise ValueError("every event needs a field")
    pending = []
    for event in events:
        value = json.dumps(dict(event)).encode()
        try:
            future = producer.send(
                topic, value=value, key=None if key is None else key.encode()
            )
        except MessageSizeTooLargeError as error:
            # The producer refuses this one by itself; those after it go on.
            pending.append(error)
        else:
            pending.append(future)
    # This sends what lingers, and waits for all; it raises nothing for a failed record.
    producer.flush()
    results: list[tuple[int, int] | KafkaError] = []
    for each in pending:
        if isinstance(each, KafkaError):
            results.append(each)
            continue
        try:
            metadata = each.get()
            results.append((metadata.partition, metadata.offset))
        except KafkaError as error:
            results.append(error)
    return results


# --8<-- [end:append_in_batches]


def demo() -> None:
    """Append a thousand events, and then four of which one is too large."""
    # A minute to fill a batch: only `flush` sends it.
    patient = {"linger_ms": 60_000, "batch_size": 256 * 1024}
    with temporary_topic() as orders:
        events = [{"order": str(number)} for number in range(1000)]
        with KafkaProducer(**patient, **settings()) as producer:
            results = append_in_batches(producer, orders, events)
            per_request = producer.metrics()["producer-metrics"][
                "records-per-request-avg"
            ]
        print(f"{len(results)} events, {per_request:.0f} records a request")
        with KafkaConsumer(
            orders, auto_offset_reset="earliest", **settings()
        ) as consumer:
            found = list(islice(consumer, 1000))
        print(
            "all stored, in order:", [json.loads(each.value) for each in found] == events
        )
        places = [(each.partition, each.offset) for each in found]
        print("the results are their places:", places == results)
        events = [*events[:2], {"picture": "x" * 2_000_000}, events[3]]
        with KafkaProducer(**settings()) as producer:
            for number, result in enumerate(append_in_batches(producer, orders, events)):
                print(f"order {number}: {result}")


if __name__ == "__main__":
    demo()
