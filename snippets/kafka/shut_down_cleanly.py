"""Stop on SIGTERM: finish the record in hand, commit it, and leave the group.

Example:
    ```py
    from threading import Event

    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.shut_down_cleanly import leave, run

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            producer.send(orders, b'{"sku": "tea"}')
            producer.send(orders, b'{"sku": "milk"}')
        consumer = KafkaConsumer(orders, **group, **settings())
        stop = Event()
        run(consumer, lambda order: stop.set(), stop)
        print(consumer.committed(TopicPartition(orders, 0)))
        #> 1
        leave(consumer)
    ```
"""

# --8<-- [start:imports]
import json
import signal
import threading
from collections.abc import Callable

from kafka import KafkaConsumer, OffsetAndMetadata

# --8<-- [end:imports]
# isort: split
import os

from kafka import KafkaProducer, TopicPartition

from snippets.kafka import settings, temporary_topic


# --8<-- [start:stop_on_sigterm]
def stop_on_sigterm() -> threading.Event:
    """Make an event that is set when the process is asked to end; for the main thread.

    The handler only sets it. One that closed the consumer would do so in the middle of a
    `poll`, and wait for itself.

    Returns:
        The event to give to `run`.

    Source:
        https://docs.python.org/3/library/signal.html#signals-and-threads
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


# --8<-- [end:stop_on_sigterm]


# --8<-- [start:run]
def run(
    consumer: KafkaConsumer,
    handle: Callable[[dict[str, str]], object],
    stop: threading.Event,
    timeout_ms: int = 1000,
) -> int:
    """Handle records one by one until it is time to stop; then nothing is in hand.

    Args:
        consumer: A consumer that has subscribed and doesn't commit by itself.
        handle: Does the work for one event; it may see an event twice.
        stop: Set when it is time to stop.
        timeout_ms: How many milliseconds to wait for a record, and so for how long a stop
            may go unnoticed: kafka-python has no `wakeup`.

    Returns:
        How many records were handled.

    Raises:
        kafka.errors.CommitFailedError: The group has given the partition to another
            consumer meanwhile, which will see the record again.
        Exception: What `handle` raises. Leave then: the position is behind the record
            already, which comes again to whoever gets the partition next.

    Source:
        https://kafka.apache.org/43/javadoc/org/apache/kafka/clients/consumer/KafkaConsumer.html
    """
    # kafka-python 3.0.12 may forget its partitions if it learns of the topic meanwhile.
    for topic in consumer.subscription():
        consumer.partitions_for_topic(topic)
    handled = 0
    while not stop.is_set():
        batch = consumer.poll(timeout_ms=timeout_ms, max_records=1)
        for partition, (record,) in batch.items():
            handle(json.loads(record.value))
            next_offset = OffsetAndMetadata(record.offset + 1, "", -1)
            consumer.commit({partition: next_offset})
            handled += 1
    return handled


# --8<-- [end:run]


# --8<-- [start:leave]
def leave(consumer: KafkaConsumer, timeout_ms: int = 10_000) -> None:
    """Close a consumer: it leaves its group, which shares out its partitions at once.

    Args:
        consumer: The consumer. Call this from the thread that polls, not from a signal
            handler.
        timeout_ms: How many milliseconds to wait for the broker's answer, which is late
            while the group waits for another member to poll. Without it the group notices
            after `session.timeout.ms`.

    Source:
        https://kafka-python.readthedocs.io/en/master/apidoc/KafkaConsumer.html
    """
    # What is done is committed; the position may be ahead of it after an error.
    consumer.close(autocommit=False, timeout_ms=timeout_ms)


# --8<-- [end:leave]


def demo() -> None:
    """Send SIGTERM to a worker in the middle of its second order."""
    before = signal.getsignal(signal.SIGTERM)

    def bill(order: dict[str, str]) -> None:
        print(f"order {order['order']} begins")
        if order["order"] == "1":
            print("SIGTERM comes")
            os.kill(os.getpid(), signal.SIGTERM)
        print(f"order {order['order']} is done")

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            for number in range(3):
                producer.send(orders, json.dumps({"order": str(number)}).encode())
        worker_1 = KafkaConsumer(orders, **group, **settings())
        try:
            print(f"handled {run(worker_1, bill, stop_on_sigterm())}")
        finally:
            signal.signal(signal.SIGTERM, before)
        print(f"committed offset {worker_1.committed(TopicPartition(orders, 0))}")
        leave(worker_1)
        print("worker-1 has left; worker-2 joins and gets the partition")
        with KafkaConsumer(orders, **group, **settings()) as worker_2:
            print(next(worker_2).value.decode())


if __name__ == "__main__":
    demo()
