"""What aiokafka offers."""

import asyncio
from typing import Any

import aiokafka
import aiokafka.admin
import aiokafka.admin.config_resource

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

SOURCE = "https://aiokafka.readthedocs.io/en/stable/api.html"
PROBES: Probes[str] = Probes(ABSENT)


@PROBES.add(ONCE, source=SOURCE, baseline=True)
def once(address: str, topic: str) -> None:
    """The producer has an id."""
    new_topic(address, topic)

    async def send() -> None:
        options = {"bootstrap_servers": address, "enable_idempotence": True}
        async with aiokafka.AIOKafkaProducer(**options) as producer:
            await producer.send_and_wait(topic, b"1")

    run(send)


@PROBES.add(TRANSACTION, source=SOURCE, baseline=True)
def transaction(address: str, topic: str) -> None:
    """A transaction is committed."""
    new_topic(address, topic)

    async def send() -> None:
        options = {"bootstrap_servers": address, "transactional_id": topic}
        async with (
            aiokafka.AIOKafkaProducer(**options) as producer,
            producer.transaction(),
        ):
            await producer.send(topic, b"1")

    run(send)


@PROBES.add(NEW_GROUP, source=SOURCE)
def new_group(address: str, topic: str) -> None:
    """A group is of the new type."""
    new_topic(address, topic)

    async def read() -> None:
        options: Any = {"bootstrap_servers": address, "group_protocol": "consumer"}
        async with aiokafka.AIOKafkaConsumer(topic, group_id=topic, **options):
            found = await asyncio.to_thread(group_type, address, topic, lambda: None)
            must(found, "consumer", "the group's type")

    run(read)


@PROBES.add(SHARE_GROUP, source=SOURCE)
def share_group(address: str, topic: str) -> None:  # noqa: ARG001
    """There is a consumer for share groups."""
    no_share_group(aiokafka)


@PROBES.add(ASYNCIO, source=SOURCE)
def with_asyncio(address: str, topic: str) -> None:
    """A coroutine awaits an acknowledgement."""
    new_topic(address, topic)

    async def send() -> None:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=address) as producer:
            await producer.send_and_wait(topic, b"1")

    run(send)


@PROBES.add(ONE_SETTING, source=SOURCE)
def one_setting(address: str, topic: str) -> None:
    """A setting changes, and the others stay."""
    new_topic(address, topic)

    async def alter() -> None:
        admin = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            resource = aiokafka.admin.config_resource.ConfigResource(
                aiokafka.admin.config_resource.ConfigResourceType.TOPIC,
                topic,
                {"flush.ms": "5000"},
            )
            await admin.alter_configs([resource])
        finally:
            await admin.close()

    run(alter)
    kept(address, topic)


@PROBES.add(FEATURES, source=SOURCE)
def features(address: str, topic: str) -> None:  # noqa: ARG001
    """The levels are read."""

    async def describe() -> None:
        admin: Any = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.describe_features()

    run(describe)


@PROBES.add(ELIGIBLE, source=SOURCE)
def eligible(address: str, topic: str) -> None:
    """A partition's description names them."""
    new_topic(address, topic)

    async def describe() -> None:
        admin = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            ((described,),) = [await admin.describe_topics([topic])]
        finally:
            await admin.close()
        found = described["partitions"][0]
        if not any("eligible" in name for name in found):
            raise Missing(f"a partition's description has {', '.join(found)}")

    run(describe)
