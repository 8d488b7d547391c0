"""What several tests need to look into a Kafka topic, or to make its broker behave."""

from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from snippets.kafka import settings

# Of a broker: it looks for what it may delete all the time, not every five minutes.
LOOKS = {"log.retention.check.interval.ms": "50", "log.initial.task.delay.ms": "50"}

# Of a consumer: the broker sends it one batch at a time.
SMALL: dict[str, Any] = {"max_partition_fetch_bytes": 1, "fetch_max_bytes": 1}

# Of a consumer: the broker sends it nothing for ten seconds, as it waits for more.
STARVED: dict[str, Any] = {"fetch_min_bytes": 2**30, "fetch_max_wait_ms": 10_000}


def read_topic(
    topic: str,
    isolation_level: str = "read_uncommitted",
    client: dict[str, Any] | None = None,
) -> list[Any]:
    """Read all records that a reader of this level gets, and wait for no more."""
    partition = TopicPartition(topic, 0)
    options = {"auto_offset_reset": "earliest", "isolation_level": isolation_level}
    found: list[Any] = []
    with KafkaConsumer(**options, **(client or settings())) as consumer:
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        while consumer.position(partition) < end:
            for records in consumer.poll(timeout_ms=100).values():
                found += records
    return found


def transactional(name: str) -> KafkaProducer:
    """Make a producer for transactions; the next one of this name fences it."""
    producer = KafkaProducer(transactional_id=f"test of {name}", **settings())
    producer.init_transactions()
    return producer


def values(topic: str) -> list[bytes]:
    """Read the values of all records."""
    return [record.value for record in read_topic(topic)]


def starts(admin: KafkaAdminClient, topic: str, partitions: int) -> list[int]:
    """Return the first offset of each partition."""
    asked = {TopicPartition(topic, n): OffsetSpec.EARLIEST for n in range(partitions)}
    found = admin.list_partition_offsets(asked)
    return [found[each].offset for each in asked]


def config(admin: KafkaAdminClient, topic: str) -> dict[str, str]:
    """Return the settings that are the topic's own."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    answer = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    return {
        name: each["value"]
        for name, each in answer.items()
        if each["config_source"] == "DYNAMIC_TOPIC_CONFIG"
    }


def compact(admin: KafkaAdminClient, topic: str) -> None:
    """Let a topic be compacted."""
    policy = {"cleanup.policy": "compact"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, policy)])
