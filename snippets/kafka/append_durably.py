"""Append an event, and know how many brokers have it.

Example:
    ```py
    from kafka import KafkaAdminClient, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.append_durably import append_durably, require_copies

    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        print(append_durably(producer, orders, {"sku": "tea"}))
        #> (0, 0)
        with KafkaAdminClient(**settings()) as admin:
            try:
                require_copies(admin, orders, copies=2)
            except RuntimeError as error:
                print(error)
                #> 2 copies need more: min.insync.replicas is 1, replicas: 1
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Mapping

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import UnknownTopicOrPartitionError

# --8<-- [end:imports]
# isort: split
import time
from itertools import islice

from kafka import KafkaConsumer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:require_copies]
def require_copies(admin: KafkaAdminClient, topic: str, copies: int) -> None:
    """Refuse a topic that acknowledges with fewer copies. Call it once, at the start.

    The topic decides, not the append: `acks="all"` is content with as many brokers as
    are in sync, if they are `min.insync.replicas`.

    Args:
        admin: Reads the topic's settings.
        topic: The topic.
        copies: How many brokers are to have each record, the leader included.

    Raises:
        ValueError: `copies` is less than 1.
        RuntimeError: `min.insync.replicas` is smaller, or a partition has fewer replicas.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.

    Source:
        https://kafka.apache.org/43/configuration/topic-configs/#topicconfigs_min.insync.replicas
    """
    if copies < 1:
        raise ValueError(f"{copies} copies are none")
    (described,) = admin.describe_topics([topic])
    if described["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    found = admin.describe_configs([resource], config_filter="all")
    minimum = int(found["topic"][topic]["min.insync.replicas"]["value"])
    replicas = min(len(each["replica_nodes"]) for each in described["partitions"])
    # A topic with fewer replicas than min.insync.replicas is content with what it has.
    if minimum < copies or replicas < copies:
        raise RuntimeError(
            f"{copies} copies need more: min.insync.replicas is {minimum}, "
            f"replicas: {replicas}"
        )


# --8<-- [end:require_copies]


# --8<-- [start:append_durably]
def append_durably(
    producer: KafkaProducer, topic: str, event: Mapping[str, str], key: str | None = None
) -> tuple[int, int]:
    """Append an event, and wait until every replica in sync has it.

    These are at least `min.insync.replicas`: the record outlives the death of all of them
    but one. It is in page caches, not on disks: if all lose power at once, it is lost.

    Args:
        producer: With `acks="all"`, kafka-python's default.
        topic: A topic that has passed `require_copies`.
        event: Field names and values, at least one; they are sent as JSON.
        key: Records of one key go to one partition, in order. None spreads them.

    Returns:
        The partition, and the record's offset in it.

    Raises:
        ValueError: The event has no fields, or the producer is content with fewer
            acknowledgments; nothing is sent.
        kafka.errors.KafkaTimeoutError: No acknowledgement came within
            `delivery_timeout_ms`, for want of replicas for example: whether the record
            is stored is unknown. Make another producer, and `close(timeout=0)` this one.
        kafka.errors.KafkaError: The broker refuses the record.

    Source:
        https://kafka.apache.org/43/configuration/producer-configs/#producerconfigs_acks
    """
    if producer.config["acks"] not in ("all", -1):
        raise ValueError(f"acks is {producer.config['acks']}, and must be 'all'")
    if not event:
        raise ValueError("an event needs at least one field")
    record = producer.send(
        topic,
        value=json.dumps(dict(event)).encode(),
        key=None if key is None else key.encode(),
    )
    # No shorter timeout here: it would end the wait, and the record would go out yet.
    metadata = record.get()
    return metadata.partition, metadata.offset


# --8<-- [end:append_durably]


def demo() -> None:
    """Ask a topic as installed for one copy and for two, and a producer for less."""
    with temporary_topic() as orders:
        with KafkaAdminClient(**settings()) as admin:
            for copies in (1, 2):
                try:
                    require_copies(admin, orders, copies)
                    print(f"copies={copies}: the topic can do that")
                except RuntimeError as error:
                    print(f"copies={copies}: {error}")
        with KafkaProducer(**settings()) as producer:
            for sku in ("tea", "milk"):
                partition, offset = append_durably(producer, orders, {"sku": sku})
                print(f"{sku}: offset {offset} of partition {partition}")
        with KafkaProducer(acks=0, enable_idempotence=False, **settings()) as hasty:
            too_late = int(time.time() * 1000) + 2 * 60 * 60 * 1000
            hasty.send(orders, b"{}", timestamp_ms=too_late).get()
            print("acks=0, a record that the broker refuses: no error")
            try:
                append_durably(hasty, orders, {"sku": "jam"})
            except ValueError as error:
                print(f"jam: {error}")
        with KafkaConsumer(
            orders, auto_offset_reset="earliest", **settings()
        ) as consumer:
            for record in islice(consumer, 2):
                print(record.offset, record.value.decode())
            end = consumer.end_offsets(consumer.assignment())
            print(f"records in all: {sum(end.values())}")


if __name__ == "__main__":
    demo()
