"""A topic with replicas, and who of them is in sync."""

from kafka import KafkaAdminClient
from kafka.errors import KafkaConnectionError

from snippets import servers
from snippets.servers.ready import attempts

PATIENCE_S = 60.0


def create_topic(server: servers.Kafka, replicas: int, min_insync: int) -> None:
    """Create the topic `orders` and wait until all its replicas are in sync."""
    options = {
        "num_partitions": 1,
        "replication_factor": replicas,
        "configs": {"min.insync.replicas": str(min_insync)},
    }
    with KafkaAdminClient(**server.settings) as admin:
        admin.create_topics({"orders": options}, wait_for_metadata=True)
    until_in_sync(server, replicas)


def until_in_sync(server: servers.Kafka, replicas: int) -> None:
    """Wait until the topic has so many replicas in sync."""
    found: object = None
    with KafkaAdminClient(**server.settings) as admin:
        for _ in attempts(PATIENCE_S):
            try:
                (topic,) = admin.describe_topics(["orders"])
            except KafkaConnectionError as error:
                # It asked a broker whose death it has not learned of yet.
                found = error
                continue
            found = topic["partitions"][0]["isr_nodes"]
            if len(topic["partitions"][0]["isr_nodes"]) == replicas:
                return
    raise AssertionError(f"never {replicas} replicas in sync, but {found}")
