"""Take over the records that a consumer received and never committed.

Example:
    ```py
    from kafka import KafkaConsumer, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.claim_stalled import claim_stalled

    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            producer.send(orders, b'{"sku": "tea"}').get()
        group = {
            "group_id": "billing",
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
        }
        with KafkaConsumer(orders, **group, **settings()) as worker_1:
            next(worker_1)
        with KafkaConsumer(orders, **group, **settings()) as worker_2:
            print(claim_stalled(worker_2, print, patience_s=30))
            #> {'sku': 'tea'}
            #> 1
    ```
"""

# --8<-- [start:imports]
import json
import time
from collections.abc import Callable

from kafka import KafkaConsumer, OffsetAndMetadata

# --8<-- [end:imports]
# isort: split
from kafka import KafkaProducer, TopicPartition
from kafka.errors import CommitFailedError

from snippets.kafka import settings, temporary_topic


# --8<-- [start:claim_stalled]
def claim_stalled(
    consumer: KafkaConsumer,
    handle: Callable[[dict[str, str]], None],
    patience_s: float,
) -> int:
    """Wait until the group hands over a stalled consumer's partitions; go on from there.

    There is nothing to claim: the group takes the partitions from a consumer whose
    heartbeats stop for `session.timeout.ms`, or that doesn't poll for
    `max.poll.interval.ms`. Whoever gets them starts at the committed offset.

    Args:
        consumer: A consumer of the same group that doesn't commit by itself.
        handle: Does the work for one event; it may see an event twice.
        patience_s: How many seconds to wait for the first record: more than the stalled
            consumer's timeout.

    Returns:
        How many records were handled: all that were there, the new ones too.

    Raises:
        kafka.errors.CommitFailedError: This consumer stalled in its turn.
        Exception: What `handle` raises. Close the consumer then: its position is behind
            the record already, which comes again to whoever gets the partition next.

    Source:
        https://kafka.apache.org/43/configuration/consumer-configs/#consumerconfigs_max.poll.interval.ms
    """
    handled = 0
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        batch = consumer.poll(timeout_ms=500)
        if handled and not batch:
            break
        for partition, records in batch.items():
            for record in records:
                handle(json.loads(record.value))
                next_offset = OffsetAndMetadata(record.offset + 1, "", -1)
                consumer.commit({partition: next_offset})
                handled += 1
    return handled


# --8<-- [end:claim_stalled]


def demo() -> None:
    """Let a worker stall with three records, one committed, and another take over."""
    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "max_poll_interval_ms": 1000,
        "heartbeat_interval_ms": 500,
    }
    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            for number in range(4):
                producer.send(orders, json.dumps({"order": str(number)}).encode())
        partition = TopicPartition(orders, 0)
        with (
            KafkaConsumer(orders, **group, **settings()) as worker_1,
            KafkaConsumer(orders, **group, **settings()) as worker_2,
        ):
            taken = [json.loads(next(worker_1).value)["order"] for _ in range(3)]
            print(f"worker-1 takes {taken}")
            worker_1.commit({partition: OffsetAndMetadata(2, "", -1)})
            print("worker-1 commits offset 2, which covers orders 0 and 1, and stalls")
            print("worker-2 polls on until the group hands it the partition")
            claim_stalled(worker_2, print, patience_s=60)
            try:
                worker_1.commit({partition: OffsetAndMetadata(3, "", -1)})
            except CommitFailedError as error:
                print(f"worker-1 wakes up, commits offset 3: {type(error).__name__}")


if __name__ == "__main__":
    demo()
