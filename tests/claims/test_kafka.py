"""What Kafka's defaults promise, and what they don't."""

from uuid import uuid4

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from snippets.kafka import settings
from snippets.kafka.append import append
from tests.ledger import claim

FOREVER = str(2**63 - 1)


def topic_settings(topic: str) -> dict[str, str]:
    """Return the settings in force for a topic."""
    with KafkaAdminClient(**settings()) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = admin.describe_configs([resource], config_filter="all")
    return {name: each["value"] for name, each in found["topic"][topic].items()}


@claim(servers="kafka", since="0.8")
def test_kafka_default_topic_has_one_replica(producer: KafkaProducer) -> None:
    """A topic that a default Kafka broker creates by itself, on the first record sent to
    it, has one partition and one replica.
    """
    topic = f"example-{uuid4().hex}"
    append(producer, topic, {"sku": "tea"})
    with KafkaAdminClient(**settings()) as admin:
        try:
            (found,) = admin.describe_topics([topic])
        finally:
            admin.delete_topics([topic])
    (partition,) = found["partitions"]
    assert len(partition["replica_nodes"]) == 1


@claim(servers="kafka", since="0.9")
def test_kafka_default_min_insync_replicas_is_one(topic: str) -> None:
    """Kafka's default `min.insync.replicas` is 1: `acks=all` is content with the leader
    alone when the other replicas are out of sync.
    """
    assert topic_settings(topic)["min.insync.replicas"] == "1"


@claim(servers="kafka", since="0.8")
def test_kafka_never_forces_a_flush_by_default(topic: str) -> None:
    """By default Kafka forces no record to disk before it acknowledges it:
    `flush.messages` and `flush.ms` stand at the largest 64-bit number.
    """
    found = topic_settings(topic)
    assert found["flush.messages"] == FOREVER
    assert found["flush.ms"] == FOREVER


@claim(servers="kafka", since="0.8")
def test_kafka_default_retention_is_seven_days(topic: str) -> None:
    """Kafka's default keeps records for seven days, whether they were read or not, and
    bounds no topic by its size.
    """
    found = topic_settings(topic)
    assert found["retention.ms"] == str(7 * 24 * 60 * 60 * 1000)
    assert found["retention.bytes"] == "-1"
    assert found["cleanup.policy"] == "delete"
