"""What is asked of every library for Kafka, and how the answer is checked.

The libraries have nothing in common but the broker, so a feature is one function a
library, under one name in all of them. Whether it did its work, kafka-python looks up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import ModuleType

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from snippets.labs.versions.probe import Missing, must
from snippets.servers.ready import attempts

PATIENCE_S = 30.0

# How a library says that it has not got something.
ABSENT = (AttributeError, ImportError, TypeError)

ONCE = "Idempotent producer"
TRANSACTION = "Transactions"
NEW_GROUP = "Groups by KIP-848"
SHARE_GROUP = "Share groups"
ASYNCIO = "asyncio"
ONE_SETTING = "Change one setting of a topic"
FEATURES = "Read and switch the cluster's features"
ELIGIBLE = "See eligible leader replicas"


def no_share_group(module: ModuleType) -> None:
    """Look for a public name.

    Raises:
        Missing: There is none.
    """
    if not any("Share" in name for name in dir(module)):
        raise Missing(f"no name in `{module.__name__}` has `Share` in it")


def group_type(address: str, group: str, poll: Callable[[], object]) -> str:
    """Return of which type a group is, as soon as the broker has it.

    Args:
        address: The broker's address.
        group: The group.
        poll: Keeps the member alive that is about to join it.
    """
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        for _ in attempts(PATIENCE_S):
            poll()
            for each in admin.list_groups():
                if each["group_id"] == group:
                    return str(each["group_type"]).lower()
    raise TimeoutError(f"no member joined the group within {PATIENCE_S:g} s")


def kept(address: str, topic: str) -> None:
    """Look whether the topic has both of its settings."""
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = str(admin.describe_configs([resource]))
    must(("1000000" in found, "5000" in found), (True, True), "old and new setting")


def new_topic(address: str, topic: str) -> None:
    """Create a topic with a setting of its own."""
    configs = {"retention.ms": "1000000"}
    options = {"num_partitions": 1, "replication_factor": 1, "configs": configs}
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        admin.create_topics({topic: options}, wait_for_metadata=True)


def run(coroutine: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine to its end."""

    async def main() -> None:
        await coroutine()

    asyncio.run(main())
