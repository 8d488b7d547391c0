"""Create a topic before anybody needs it, as often as you like.

Example:
    ```py
    from uuid import uuid4

    from kafka import KafkaAdminClient

    from snippets.kafka import settings
    from snippets.kafka.set_up import describe, set_up

    orders = f"orders-{uuid4().hex}"
    config = {"retention.ms": "3600000"}
    with KafkaAdminClient(**settings()) as admin:
        print(set_up(admin, orders, partitions=2, replicas=1, config=config))
        #> True
        print(set_up(admin, orders, partitions=2, replicas=1, config=config))
        #> False
        print(describe(admin, orders))
        #> {'partitions': 2, 'replicas': 1, 'config': {'retention.ms': '3600000'}}
        admin.delete_topics([orders])
    ```
"""

# --8<-- [start:imports]
from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidConfigurationError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

# --8<-- [end:imports]
# isort: split
from kafka.errors import InvalidPartitionsError

from snippets.kafka import settings, temporary_topic


# --8<-- [start:set_up]
def set_up(
    admin: KafkaAdminClient,
    topic: str,
    partitions: int,
    replicas: int,
    config: Mapping[str, str],
) -> bool:
    """Create a topic; leave it alone if it exists as it should, refuse it if it doesn't.

    Any number of processes may call it at once, and again at each start: one of them
    creates the topic, and none of them changes it.

    Args:
        admin: The admin client.
        topic: The topic.
        partitions: How many partitions it has.
        replicas: How many brokers keep a copy of each partition.
        config: Names and values of its settings, such as `{"retention.ms": "3600000"}`.
            A topic that exists may have others beside them.

    Returns:
        Whether the topic was created.

    Raises:
        ValueError: The topic exists with other settings, for example because a producer
            was first and the broker has created it with its defaults.
        kafka.errors.InvalidPartitionsError: There can't be so many partitions.
        kafka.errors.InvalidReplicationFactorError: There are not so many brokers.
        kafka.errors.InvalidConfigurationError: There is no such setting, or its value is
            wrong.
        kafka.errors.InvalidTopicError: The name is not one that a topic can have.

    Source:
        https://kafka.apache.org/43/configuration/topic-configs/
    """
    wanted = {"num_partitions": partitions, "replication_factor": replicas}
    try:
        admin.create_topics(
            {topic: {**wanted, "configs": dict(config)}}, wait_for_metadata=True
        )
    except TopicAlreadyExistsError:
        # Another process may have created it just now: wait until all brokers know it.
        admin.wait_for_topics([topic])
    else:
        return True
    (found,) = admin.describe_topics([topic])
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, dict(config))
    answer = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    differences = [
        f"{name} is {is_now}, not {should_be}"
        for name, is_now, should_be in [
            ("partitions", len(found["partitions"]), partitions),
            ("replicas", len(found["partitions"][0]["replica_nodes"]), replicas),
            *((name, answer.get(name, {}).get("value"), config[name]) for name in config),
        ]
        if is_now != should_be
    ]
    if differences:
        raise ValueError(f"topic {topic} exists: {', '.join(differences)}")
    return False


# --8<-- [end:set_up]


# --8<-- [start:describe]
def describe(admin: KafkaAdminClient, topic: str) -> dict[str, Any]:
    """Tell what there is: partitions, replicas, and settings that are the topic's own.

    Args:
        admin: The admin client.
        topic: The topic.

    Returns:
        `partitions` and `replicas`, their numbers, and `config`, names and values of
        what is not inherited from the brokers.

    Raises:
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/#modifying-topics
    """
    (found,) = admin.describe_topics([topic])
    if found["error_code"]:
        raise UnknownTopicOrPartitionError(topic)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    answer = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    return {
        "partitions": len(found["partitions"]),
        "replicas": len(found["partitions"][0]["replica_nodes"]),
        "config": {
            name: each["value"]
            for name, each in answer.items()
            if each["config_source"] == "DYNAMIC_TOPIC_CONFIG"
        },
    }


# --8<-- [end:describe]


# --8<-- [start:alter]
def alter(
    admin: KafkaAdminClient,
    topic: str,
    partitions: int | None = None,
    config: Mapping[str, str] | None = None,
) -> None:
    """Add partitions to a topic, and change settings; nothing changes if one is refused.

    Records stay where they are: from now on a key may be in another partition than its
    older records.

    Args:
        admin: The admin client.
        topic: The topic.
        partitions: How many partitions it is to have, more than now; None for as many.
        config: Names and new values of settings; the others stay.

    Raises:
        kafka.errors.InvalidPartitionsError: There would not be more partitions than now.
        kafka.errors.InvalidConfigurationError: A value is wrong.
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.
        ValueError: There is no such setting, or no such topic.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/#modifying-topics
    """
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, dict(config or {}))
    for validate_only in (True, False):
        if partitions is not None:
            admin.create_partitions({topic: partitions}, validate_only=validate_only)
        if config:
            answer = admin.alter_configs([resource], validate_only=validate_only)
            # A refusal is no exception in kafka-python 3.0, but a text instead of `OK`.
            refused = answer["topic"][topic]
            if refused != "OK":
                raise InvalidConfigurationError(refused)


# --8<-- [end:alter]


def demo() -> None:
    """Refuse a topic that a producer came upon first; set one up twice, and change it."""
    with temporary_topic() as first_come, KafkaAdminClient(**settings()) as admin:
        print(f"with the broker's defaults: {describe(admin, first_come)}")
        config = {"retention.ms": "86400000"}
        try:
            set_up(admin, first_come, partitions=4, replicas=1, config=config)
        except ValueError as error:
            print(str(error).replace(first_come, "orders"))
        orders = f"{first_come}-set-up"
        try:
            for process in ("web-1", "web-2"):
                made = set_up(admin, orders, partitions=4, replicas=1, config=config)
                print(f"{process} sets up orders: {'created' if made else 'was there'}")
            print(describe(admin, orders))
            alter(admin, orders, partitions=6, config={"retention.ms": "3600000"})
            wanted = {
                "partitions": 6,
                "replicas": 1,
                "config": {"retention.ms": "3600000"},
            }
            # The brokers learn of a change within moments, not before the answer.
            found: dict[str, Any] = {}
            while found != wanted:
                found = describe(admin, orders)
            print(f"altered: {found}")
            try:
                alter(admin, orders, partitions=4)
            except InvalidPartitionsError as error:
                print(f"back to four partitions: {type(error).__name__}")
        finally:
            admin.delete_topics([orders])


if __name__ == "__main__":
    demo()
