"""What confluent-kafka offers, which is librdkafka."""

from typing import Any

import confluent_kafka
import confluent_kafka.admin
import confluent_kafka.aio

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

SOURCE = "https://docs.confluent.io/platform/current/clients/confluent-kafka-python/html/index.html"
PROBES: Probes[str] = Probes(ABSENT)


def _confluent(address: str, **config: Any) -> dict[str, Any]:
    return {
        "bootstrap.servers": address,
        **{key.replace("_", "."): value for key, value in config.items()},
    }


@PROBES.add(ONCE, source=SOURCE, baseline=True)
def once(address: str, topic: str) -> None:
    """The producer has an id."""
    new_topic(address, topic)
    producer = confluent_kafka.Producer(_confluent(address, enable_idempotence=True))
    producer.produce(topic, b"1")
    must(producer.flush(30), 0, "what is left to send")


@PROBES.add(TRANSACTION, source=SOURCE, baseline=True)
def transaction(address: str, topic: str) -> None:
    """A transaction is committed."""
    new_topic(address, topic)
    producer = confluent_kafka.Producer(_confluent(address, transactional_id=topic))
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, b"1")
    producer.commit_transaction()


@PROBES.add(NEW_GROUP, source=SOURCE)
def new_group(address: str, topic: str) -> None:
    """A group is of the new type."""
    new_topic(address, topic)
    options = _confluent(address, group_id=topic, group_protocol="consumer")
    consumer = confluent_kafka.Consumer(options)
    try:
        consumer.subscribe([topic])
        found = group_type(address, topic, lambda: consumer.poll(0.1))
        must(found, "consumer", "the group's type")
    finally:
        consumer.close()


@PROBES.add(SHARE_GROUP, source=SOURCE)
def share_group(address: str, topic: str) -> None:
    """A worker joins a share group."""
    no_share_group(confluent_kafka)
    new_topic(address, topic)
    worker = confluent_kafka.ShareConsumer(_confluent(address, group_id=topic))
    try:
        worker.subscribe([topic])
        found = group_type(address, topic, lambda: worker.poll(0.1))
        must(found, "share", "the group's type")
    finally:
        worker.close()


@PROBES.add(ASYNCIO, source=SOURCE)
def with_asyncio(address: str, topic: str) -> None:
    """A coroutine awaits an acknowledgement."""
    new_topic(address, topic)

    async def send() -> None:
        producer = confluent_kafka.aio.AIOProducer(_confluent(address))
        sent = await producer.produce(topic, b"1")
        await producer.flush()
        await sent
        await producer.close()

    run(send)


@PROBES.add(ONE_SETTING, source=SOURCE)
def one_setting(address: str, topic: str) -> None:
    """A setting changes, and the others stay."""
    new_topic(address, topic)
    entry = confluent_kafka.admin.ConfigEntry(
        "flush.ms",
        "5000",
        incremental_operation=confluent_kafka.admin.AlterConfigOpType.SET,
    )
    resource = confluent_kafka.admin.ConfigResource(
        "topic", topic, incremental_configs=[entry]
    )
    admin = confluent_kafka.admin.AdminClient(_confluent(address))
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result()
    kept(address, topic)


@PROBES.add(FEATURES, source=SOURCE)
def features(address: str, topic: str) -> None:  # noqa: ARG001
    """The levels are read."""
    admin: Any = confluent_kafka.admin.AdminClient(_confluent(address))
    admin.describe_features()


@PROBES.add(ELIGIBLE, source=SOURCE)
def eligible(address: str, topic: str) -> None:
    """A partition's description names them."""
    new_topic(address, topic)
    admin = confluent_kafka.admin.AdminClient(_confluent(address))
    names = confluent_kafka.TopicCollection([topic])
    (described,) = (each.result() for each in admin.describe_topics(names).values())
    found = [name for name in dir(described.partitions[0]) if name[0] != "_"]
    if not any("elr" in name or "eligible" in name for name in found):
        raise Missing(f"a partition's description has {', '.join(found)}")
