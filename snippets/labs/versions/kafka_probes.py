"""What a Kafka broker does with each feature, as it comes: one broker, default settings.

The probes talk through kafka-python, and through confluent-kafka where kafka-python has
no such thing, in the same versions to every broker.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import (
    AcknowledgeType,
    Consumer,
    KafkaException,
    Producer,
    ShareConsumer,
)
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from snippets.labs.versions.probe import Missing, Probes, must
from snippets.servers.ready import attempts

PATIENCE_S = 15.0
POLL_S = 0.5
FETCH_KEY = 1

DOCS = "https://kafka.apache.org/43"
KIP = "https://cwiki.apache.org/confluence/display/KAFKA/KIP-"

Found = TypeVar("Found")


@dataclass(frozen=True)
class Broker:
    """A broker, as the probes reach it.

    Attributes:
        address: Where it listens.
        admin: A client for its settings.
    """

    address: str
    admin: Any

    @property
    def settings(self) -> dict[str, Any]:
        """The connection settings of librdkafka."""
        return {"bootstrap.servers": self.address}


@contextmanager
def connected(address: str) -> Iterator[Broker]:
    """Give a broker with a client that is closed after."""
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        yield Broker(address, admin)


PROBES: Probes[Broker] = Probes((KafkaError, KafkaException))


def _topic(broker: Broker, name: str, **config: str) -> None:
    configs = {key.replace("_", "."): value for key, value in config.items()}
    broker.admin.create_topics(
        {name: {"num_partitions": 1, "replication_factor": 1, "configs": configs}},
        wait_for_metadata=True,
    )


def _produce(broker: Broker, topic: str, value: bytes = b"1", **config: str) -> None:
    options = {key.replace("_", "."): value for key, value in config.items()}
    producer = Producer({**broker.settings, **options})
    producer.produce(topic, value)
    if producer.flush(PATIENCE_S):
        raise TimeoutError("a record was not acknowledged")


@contextmanager
def _as_others_read(broker: Broker, topic: str) -> Iterator[None]:
    """Take silence for a no, if a group of the old kind reads the same topic.

    A library that is not understood asks on and on, and tells nobody.

    Raises:
        Missing: The block's group got nothing, and the other one did.
    """
    try:
        yield
    except TimeoutError as error:
        _read(broker, topic, group_id=f"{topic}-classic")
        said = f"{error}, where a classic group reads one"
        raise Missing(said) from error


def _first(poll: Callable[[], Found | None]) -> Found:
    for _ in attempts(PATIENCE_S):
        # A record without a value is false, too.
        if (found := poll()) is not None:
            return found
    raise TimeoutError(f"no record within {PATIENCE_S:g} s")


def _read(broker: Broker, topic: str, **config: str) -> list[bytes | None]:
    """Return the value of the first record that a group gets."""
    options = {key.replace("_", "."): value for key, value in config.items()}
    consumer = Consumer(
        {
            "group.id": topic,
            "auto.offset.reset": "earliest",
            **broker.settings,
            **options,
        }
    )
    try:
        consumer.subscribe([topic])
        message = _first(lambda: consumer.poll(POLL_S))
        if error := message.error():
            raise KafkaException(error)
        return [message.value()]
    finally:
        consumer.close()


def _set(broker: Broker, kind: ConfigResourceType, name: str, key: str, to: str) -> None:
    # It is the broker that is asked whether there is such a setting.
    resource = ConfigResource(kind, name, {key: to})
    broker.admin.alter_configs([resource], raise_on_unknown=False)


@contextmanager
def _shared(broker: Broker, topic: str) -> Iterator[ShareConsumer]:
    """Give a worker of a share group that starts with the first record."""
    earliest = ("share.auto.offset.reset", "earliest")
    _set(broker, ConfigResourceType.GROUP, topic, *earliest)
    worker = ShareConsumer(
        {
            "group.id": topic,
            "share.acknowledgement.mode": "explicit",
            **broker.settings,
        }
    )
    try:
        worker.subscribe([topic])
        yield worker
    finally:
        worker.close()


def _take(worker: ShareConsumer) -> Any:
    message = _first(lambda: next(iter(worker.poll(POLL_S)), None))
    if error := message.error():
        raise KafkaException(error)
    return message


def _finalized(broker: Broker, feature: str, level: int) -> None:
    """Look at a feature's level, which the cluster has agreed upon.

    Raises:
        Missing: It is lower, or the cluster has none.
    """
    features: Mapping[str, Any] = broker.admin.describe_features()
    if feature not in features:
        raise Missing(f"there is no `{feature}`")
    (_, found), (_, highest) = (
        features[feature].get(kind, (0, 0)) for kind in ("finalized", "supported")
    )
    if found < level:
        raise Missing(f"`{feature}` is {found}, and can be {highest}")


def _switch_on(broker: Broker, feature: str) -> None:
    """Set a feature's level to 1, unless it is higher, and wait until the broker knows.

    Raises:
        Missing: The broker does not take it over.
    """
    try:
        _finalized(broker, feature, 1)
    except Missing:
        broker.admin.update_features({feature: 1})
        for _ in attempts(PATIENCE_S):
            with suppress(Missing):
                return _finalized(broker, feature, 1)
        _finalized(broker, feature, 1)


def _broker_setting(broker: Broker, name: str) -> None:
    """Look for a setting of the broker.

    Raises:
        Missing: There is no such setting.
    """
    resource = ConfigResource(ConfigResourceType.BROKER, "1", {name: None})
    found = broker.admin.describe_configs([resource], config_filter="all")
    if name not in str(found):
        raise Missing("the broker has no such setting")


@PROBES.add("Idempotent producer", since="0.11", source=f"{KIP}98", baseline=True)
def idempotent_producer(broker: Broker, name: str) -> None:
    """A record is acknowledged to a producer with an id, and read by a group."""
    _topic(broker, name)
    _produce(broker, name, enable_idempotence="true")
    must(_read(broker, name), [b"1"], "what is read")


@PROBES.add("Transactions", since="0.11", source=f"{KIP}98", baseline=True)
def transactions(broker: Broker, name: str) -> None:
    """A group that reads what is committed does not get what was given up."""
    _topic(broker, name)
    producer = Producer({**broker.settings, "transactional.id": name})
    producer.init_transactions()
    for value, end in (
        (b"given up", producer.abort_transaction),
        (b"kept", producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(name, value)
        producer.flush()
        end()
    must(_read(broker, name), [b"kept"], "what is read")


@PROBES.add(
    "Delete records before an offset", since="0.11", source=f"{KIP}107", baseline=True
)
def delete_records(broker: Broker, name: str) -> None:
    """A log begins later than it did."""
    _topic(broker, name)
    for value in (b"1", b"2"):
        _produce(broker, name, value)
    broker.admin.delete_records({TopicPartition(name, 0): 1})
    must(_read(broker, name), [b"2"], "what is read")


@PROBES.add(
    "Change one setting of a topic", since="2.3", source=f"{KIP}339", baseline=True
)
def incremental_alter(broker: Broker, name: str) -> None:
    """A setting changes, and the others stay."""
    _topic(broker, name, retention_ms="1000000")
    resource = ConfigResource(ConfigResourceType.TOPIC, name, {"flush.ms": "5000"})
    broker.admin.alter_configs([resource], incremental=True)
    found = str(broker.admin.describe_configs([ConfigResource("TOPIC", name)]))
    must(("1000000" in found, "5000" in found), (True, True), "what is set")


@PROBES.add(
    "Settings of tiered storage",
    since="3.6",
    source=f"{DOCS}/operations/tiered-storage/",
    baseline=True,
)
def tiered_storage(broker: Broker, name: str) -> None:  # noqa: ARG001
    """The broker can be told to keep old segments elsewhere; with what, is a plug-in."""
    _broker_setting(broker, "remote.log.storage.system.enable")


@PROBES.add(
    "Settings of ZooKeeper",
    since="0.7",
    until="4.0",
    source="https://kafka.apache.org/40/getting-started/zk2kraft/",
)
def zookeeper(broker: Broker, name: str) -> None:  # noqa: ARG001
    """The broker can be told to keep its metadata in ZooKeeper."""
    _broker_setting(broker, "zookeeper.connect")


@PROBES.add(
    "Clients older than 2.1, by `Fetch` 0 to 3",
    since="0.7",
    until="4.0",
    source=f"{KIP}896",
)
def old_clients(broker: Broker, name: str) -> None:  # noqa: ARG001
    """The broker takes the requests by which clients from before 0.11 read."""
    version = broker.admin.get_broker_version_data(1)
    lowest = int(version.api_versions[FETCH_KEY][0])
    must(lowest, 0, "the lowest version of `Fetch`")


@PROBES.add(
    "Groups by KIP-848, `group.protocol=consumer`",
    since="4.0",
    source=f"{DOCS}/operations/consumer-rebalance-protocol/",
)
def consumer_protocol(broker: Broker, name: str) -> None:
    """A group whose partitions the broker assigns reads a record."""
    _topic(broker, name)
    _produce(broker, name)
    with _as_others_read(broker, name):
        must(_read(broker, name, group_protocol="consumer"), [b"1"], "what is read")


@PROBES.add("Transactions, version 2", since="4.0", source=f"{KIP}890")
def transactions_2(broker: Broker, name: str) -> None:  # noqa: ARG001
    """The broker checks that a record belongs to the transaction that is under way."""
    _finalized(broker, "transaction.version", 2)


@PROBES.add(
    "Eligible leader replicas, from the start",
    since="4.1",
    source=f"{DOCS}/operations/eligible-leader-replicas/",
)
def eligible_leaders(broker: Broker, name: str) -> None:  # noqa: ARG001
    """A new cluster remembers which replicas out of sync lack nothing."""
    _finalized(broker, "eligible.leader.replicas.version", 1)


@PROBES.add(
    "Share groups, from the start",
    since="4.2",
    source=f"{DOCS}/getting-started/upgrade/",
)
def share_groups(broker: Broker, name: str) -> None:
    """A worker of a share group gets a record, and accepts it."""
    _topic(broker, name)
    _produce(broker, name)
    with _as_others_read(broker, name), _shared(broker, name) as worker:
        message = _take(worker)
        must(message.value(), b"1", "what is read")
        worker.acknowledge(message, AcknowledgeType.ACCEPT)


@PROBES.add(
    "Groups of Kafka Streams by the broker (KIP-1071)",
    since="4.2",
    source=f"{KIP}1071",
)
def streams_groups(broker: Broker, name: str) -> None:  # noqa: ARG001
    """The broker assigns the tasks of a Kafka Streams application."""
    _finalized(broker, "streams.version", 1)


@PROBES.add(
    "Log folders that take no new partitions (KIP-1066)",
    since="4.3",
    source=f"{KIP}1066",
)
def cordoned(broker: Broker, name: str) -> None:  # noqa: ARG001
    """A folder can be set aside before it is taken out."""
    _broker_setting(broker, "cordoned.log.dirs")


@PROBES.add(
    "`remote.copy.lag.ms`, copy to tiered storage later (KIP-1241)",
    since="4.4",
    source=f"{KIP}1241",
)
def remote_copy_lag(broker: Broker, name: str) -> None:
    """A topic's segments wait before they go to remote storage."""
    _topic(broker, name, remote_copy_lag_ms="1000")


@PROBES.add(
    "Dead-letter queue of a share group (KIP-1191)",
    since="4.4",
    source="https://kafka.apache.org/44/configuration/group-configs/",
)
def share_dead_letter(broker: Broker, name: str) -> None:
    """What a worker rejects is stored elsewhere by the broker."""
    dead = f"dlq.{name}"
    _topic(broker, name)
    _topic(broker, dead, errors_deadletterqueue_group_enable="true")
    wanted = ("errors.deadletterqueue.topic.name", dead)
    _set(broker, ConfigResourceType.GROUP, name, *wanted)
    _produce(broker, name)
    with _shared(broker, name) as worker:
        worker.acknowledge(_take(worker), AcknowledgeType.REJECT)
        worker.commit_sync()
        must(len(_read(broker, dead)), 1, "the number of dead letters")


# These two change the cluster: they are the last ones.


@PROBES.add(
    "Eligible leader replicas, switched on",
    since="4.0",
    source=f"{DOCS}/operations/eligible-leader-replicas/",
)
def eligible_leaders_switched_on(broker: Broker, name: str) -> None:  # noqa: ARG001
    """A cluster can be told to remember them: `eligible.leader.replicas.version=1`."""
    _switch_on(broker, "eligible.leader.replicas.version")


@PROBES.add(
    "Share groups, switched on", since="4.1", source=f"{DOCS}/getting-started/upgrade/"
)
def share_groups_switched_on(broker: Broker, name: str) -> None:
    """They work after `share.version=1`."""
    _switch_on(broker, "share.version")
    share_groups(broker, name)
