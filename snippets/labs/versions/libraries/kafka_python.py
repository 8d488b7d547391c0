"""What kafka-python offers."""

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaConfigurationError

from snippets.labs.versions.libraries.features import (
    ABSENT,
    ASYNCIO,
    ELIGIBLE,
    FEATURES,
    NEW_GROUP,
    ONCE,
    ONE_SETTING,
    SHARE_GROUP,
    TRANSACTION,
    group_type,
    kept,
    new_topic,
    no_share_group,
    run,
)
from snippets.labs.versions.probe import Missing, Probes, must

SOURCE = "https://kafka-python.readthedocs.io/en/master/kips.html"
PROBES: Probes[str] = Probes((*ABSENT, KafkaConfigurationError))


@PROBES.add(ONCE, source=SOURCE, baseline=True)
def once(address: str, topic: str) -> None:
    """The producer has an id, and is not asked to."""
    new_topic(address, topic)
    with KafkaProducer(bootstrap_servers=address) as producer:
        must(producer.config["enable_idempotence"], True, "`enable_idempotence`")  # noqa: FBT003
        producer.send(topic, b"1").get(30)


@PROBES.add(TRANSACTION, source=SOURCE, baseline=True)
def transaction(address: str, topic: str) -> None:
    """A transaction is committed."""
    new_topic(address, topic)
    options = {"bootstrap_servers": address, "transactional_id": topic}
    with KafkaProducer(**options) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"1")
        producer.commit_transaction()


@PROBES.add(NEW_GROUP, source=SOURCE)
def new_group(address: str, topic: str) -> None:
    """A group is of the new type."""
    new_topic(address, topic)
    options = {"bootstrap_servers": address, "group_protocol": "consumer"}
    with KafkaConsumer(topic, group_id=topic, **options) as consumer:
        found = group_type(address, topic, lambda: consumer.poll(100))
        must(found, "consumer", "the group's type")


@PROBES.add(SHARE_GROUP, source=SOURCE)
def share_group(address: str, topic: str) -> None:  # noqa: ARG001
    """There is a consumer for share groups."""
    no_share_group(kafka)


@PROBES.add(ASYNCIO, source=SOURCE)
def with_asyncio(address: str, topic: str) -> None:
    """A coroutine awaits an acknowledgement."""
    new_topic(address, topic)

    async def send() -> None:
        with KafkaProducer(bootstrap_servers=address) as producer:
            sent = producer.send(topic, b"1")
            try:
                await sent
            except RuntimeError as error:
                kind = type(sent).__name__
                raise Missing(f"asyncio can't await a `{kind}`") from error

    run(send)


@PROBES.add(ONE_SETTING, source=SOURCE)
def one_setting(address: str, topic: str) -> None:
    """A setting changes, and the others stay."""
    new_topic(address, topic)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"flush.ms": "5000"})
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        admin.alter_configs([resource])
    kept(address, topic)


@PROBES.add(FEATURES, source=SOURCE)
def features(address: str, topic: str) -> None:  # noqa: ARG001
    """The levels are read, and one is set to what it is."""
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        found = admin.describe_features()["group.version"]["finalized"][1]
        admin.update_features({"group.version": found}, validate_only=True)


@PROBES.add(ELIGIBLE, source=SOURCE)
def eligible(address: str, topic: str) -> None:
    """A partition's description names them."""
    new_topic(address, topic)
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        found = str(admin.describe_topic_partitions([topic]))
    must("eligible_leader_replicas" in found, True, "whether they are described")  # noqa: FBT003
