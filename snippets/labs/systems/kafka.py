"""Kafka as a system under test: one topic, one group, one broker or three."""

import heapq
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, MessageSizeTooLargeError, NotEnoughReplicasError

from snippets.labs.faults.interface import Disk, FaultError, Medium, Target
from snippets.labs.faults.link import Link
from snippets.labs.faults.netns import Network, network
from snippets.labs.history import GROUP, LOG, Phase
from snippets.labs.load import Position, ServerGoneError
from snippets.labs.systems.interface import pair
from snippets.servers import Kafka, ServersError, local
from snippets.servers.interface import Custom
from snippets.servers.local.process import Storage, loopback
from snippets.servers.ready import attempts, until_kafka_answers

PARTITION = TopicPartition(LOG, 0)
PATIENCE_S = 60.0
POLL_MS = 50
ANSWER_MS = 2000
DELIVERY_MS = 30_000

# A dead broker is noticed after three seconds, not nine, in a cluster as in a restart.
QUICK = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
# Else a client that was refused for long would wait for half a minute.
RECONNECT = {"reconnect_backoff_max_ms": 200}

# The broker says of these that it has not appended the record.
REFUSED = (MessageSizeTooLargeError, NotEnoughReplicasError)


class KafkaWriter:
    """Sends values without waiting; the answers come later, from another thread."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        acks: str,
        *,
        idempotent: bool = True,
        partitions: int = 1,
    ) -> None:
        """Connect; see `load.Writer`.

        Args:
            settings: How to connect.
            acks: What the producer waits for: `0`, `1` or `all`.
            idempotent: Whether it numbers its batches, where `acks` lets it.
            partitions: How many there are; a value after the other goes to each in turn.
        """
        self._partitions = partitions
        self._producer = KafkaProducer(
            acks=acks if acks == "all" else int(acks),
            enable_idempotence=idempotent and acks == "all",
            delivery_timeout_ms=DELIVERY_MS,
            request_timeout_ms=ANSWER_MS,
            max_block_ms=DELIVERY_MS,
            **RECONNECT,
            **settings,
        )

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """See `load.Writer`."""
        try:
            sent = self._producer.send(
                LOG, str(value).encode(), partition=value % self._partitions
            )
        except KafkaError:  # it was not even put in a batch
            answer(Phase.FAIL)
            return
        sent.add_callback(lambda _: answer(Phase.OK))
        sent.add_errback(lambda error: answer(phase_of(error)))

    def close(self) -> None:
        """See `load.Writer`."""
        self._producer.close(DELIVERY_MS / 1000)


def phase_of(error: Exception) -> Phase:
    """Return what a producer's error says about the record."""
    return Phase.FAIL if isinstance(error, REFUSED) else Phase.UNKNOWN


class KafkaReader:
    """Reads the partition from the group's committed offset, or from the beginning."""

    selective = False

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Connect; see `load.Consumer`.

        The partition is assigned by hand, so that no rebalance takes time from a trial.
        """
        self._consumer = _consumer(settings, group_id=GROUP)
        self._consumer.assign([PARTITION])
        self.position: Position | None = None

    def take(self) -> Sequence[int]:
        """See `load.Consumer`."""
        try:
            records = self._consumer.poll(timeout_ms=POLL_MS).get(PARTITION, [])
        except KafkaError as error:
            raise ServerGoneError(repr(error)) from error
        return _values(records)

    def acknowledge(self, values: Sequence[int]) -> None:  # noqa: ARG002
        """Commit the position, which is after the values that were taken last."""
        try:
            offset = self._consumer.position(PARTITION)
            self._consumer.commit(timeout_ms=ANSWER_MS)
            self.position = (offset,)
        except KafkaError as error:
            raise ServerGoneError(repr(error)) from error

    def at_end(self) -> bool:
        """See `load.Consumer`."""
        try:
            end = self._consumer.end_offsets([PARTITION])[PARTITION]
            return bool(self._consumer.position(PARTITION, timeout_ms=ANSWER_MS) >= end)
        except KafkaError as error:
            raise ServerGoneError(repr(error)) from error

    def close(self) -> None:
        """See `load.Consumer`."""
        self._consumer.close(autocommit=False, timeout_ms=ANSWER_MS)


def _values(records: Sequence[Any]) -> list[int]:
    """Return what records carry; the mark at the end of a log carries nothing."""
    return [int(each.value) for each in records if each.value]


def _consumer(settings: Mapping[str, Any], **more: Any) -> KafkaConsumer:
    return KafkaConsumer(
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **RECONNECT,
        **more,
        **settings,
    )


@dataclass
class RunningKafka:
    """See `interface.Running`.

    Attributes:
        server: The cluster.
        disks: The disks of its nodes, in the order of the nodes.
        acks: What the producer waits for.
        all_nodes: Whether a fault hits all nodes, or only the leader.
        links: By which the nodes reach each other, by the name of the one that listens;
            directly if there are none.
        network: On which each node is a host of its own, if they are.
        struck: The id of the leader that a fault is to hit, if it hits only that.
    """

    server: Kafka
    disks: Sequence[Disk]
    acks: str
    all_nodes: bool
    links: Mapping[str, Link] = field(default_factory=dict)
    network: Network | None = None
    struck: int = 0
    partitions: ClassVar[Sequence[TopicPartition]] = (PARTITION,)

    @property
    def everything(self) -> list[Target]:
        """See `interface.Running`."""
        return pair([*self.server.brokers, *self.server.controllers], self.disks)

    @property
    def targets(self) -> list[Target]:
        """All nodes, or the partition's leader."""
        if self.all_nodes:
            return self.everything
        self.struck = self.leader()
        return [self.everything[self.struck - 1]]

    @property
    def versions(self) -> dict[str, str]:
        """See `interface.Running`."""
        client = importlib.metadata.version("kafka-python")
        return {"Kafka": self.server.version, "kafka-python": client}

    def make_topic(self, settings: Mapping[str, str], replicas: int) -> None:
        """Make the topic, with so many replicas in sync of each partition."""
        options = {
            "num_partitions": len(self.partitions),
            "replication_factor": replicas,
            "configs": dict(settings),
        }
        with KafkaAdminClient(**self.server.settings) as admin:
            admin.create_topics({LOG: options}, wait_for_metadata=True)
        for _ in attempts(PATIENCE_S):
            if len(self._partition().get("isr_nodes", ())) == replicas:
                return
        raise ServersError(f"the topic's replicas are not in sync: {self._partition()}")

    def prepare(self) -> None:
        """Bring about what must be so before the load begins: here, nothing more."""

    def in_sync(self) -> list[int]:
        """Return the ids of the brokers whose replicas are in sync."""
        return [int(each) for each in self._partition()["isr_nodes"]]

    def followers(self) -> list[Target]:
        """Return the brokers that have a replica and don't lead."""
        partition = self._partition()
        ids = set(map(int, partition["replica_nodes"])) - {int(partition["leader_id"])}
        return [self.everything[each - 1] for each in sorted(ids)]

    def _partition(self) -> dict[str, Any]:
        """Describe the partition; empty if the broker hasn't heard of it yet."""
        with KafkaAdminClient(**self.server.settings, **RECONNECT) as admin:
            (topic,) = admin.describe_topics([LOG])
            return dict(topic["partitions"][0]) if topic["partitions"] else {}

    def leader(self) -> int:
        """Return the id of the broker that leads the partition."""
        return int(self._partition()["leader_id"])

    def writer(self) -> KafkaWriter:
        """See `interface.Running`."""
        return KafkaWriter(
            self.server.settings, self.acks, partitions=len(self.partitions)
        )

    def consumer(self) -> KafkaReader:
        """See `interface.Running`."""
        return KafkaReader(self.server.settings)

    def bring_back(self) -> str:
        """Start all nodes again; a cluster goes on by itself without its leader.

        A leader that lives on is waited for until it follows another one.
        """
        if self.all_nodes:
            return self.start_all()
        if self.everything[self.struck - 1].node.runs():
            self.until_it_follows(self.struck)
        return ""

    def until_it_follows(self, number: int) -> None:
        """Wait until a broker is in sync, and another one leads.

        Raises:
            FaultError: It does not come to that.
        """
        told: dict[str, Any] = {}
        for _ in attempts(PATIENCE_S):
            # By one answer: who was cut off goes on to say for some time that all is as
            # it was, and whoever believes it reads a log that has ended.
            told = self._partition()
            if number != told["leader_id"] and number in told["isr_nodes"]:
                return
        raise FaultError(f"broker {number} does not follow again: {told}")

    def start_all(self) -> str:
        """Start all nodes that are down; see `interface.Running.bring_back`."""
        nodes = [target.node for target in self.everything]
        for node in nodes:
            if not node.runs():
                node.start()

        def alive() -> None:
            for node in nodes:
                node.check_alive()

        try:
            until_kafka_answers(
                self.server.settings, brokers=len(self.server.brokers), alive=alive
            )
        except ServersError as error:
            raise FaultError(f"Kafka does not start again: {error}") from error
        return ""

    def group_position(self) -> Position | None:
        """See `interface.Running`."""
        consumer = _consumer(self.server.settings, group_id=GROUP)
        try:
            committed = consumer.committed(PARTITION)
            return None if committed is None else (committed,)
        finally:
            consumer.close(autocommit=False, timeout_ms=ANSWER_MS)

    def _mark_end(self) -> None:
        """Append an empty record to each partition, until all replicas in sync have it.

        What is acknowledged before can be read from then on, and with `acks` other than
        `all` not earlier.
        """
        # A cluster that has lost its disks gives out the ids of producers once more, and
        # refuses whoever numbers batches under the id of a living one.
        with KafkaProducer(
            acks="all",
            enable_idempotence=False,
            **RECONNECT,
            **self.server.settings,
        ) as producer:
            for each in self.partitions:
                producer.send(LOG, b"", partition=each.partition).get(PATIENCE_S)

    def values(self) -> list[int]:
        """Return what is left; of partitions, each has its order, and all have none.

        Values in ascending order in their partitions are so in the whole.
        """
        self._mark_end()
        consumer = _consumer(self.server.settings)
        found: dict[TopicPartition, list[int]] = {each: [] for each in self.partitions}
        try:
            consumer.assign(self.partitions)
            consumer.seek_to_beginning(*self.partitions)
            ends = consumer.end_offsets(self.partitions)
            for _ in attempts(PATIENCE_S):
                if all(consumer.position(each) >= end for each, end in ends.items()):
                    return list(heapq.merge(*found.values()))
                for each, records in consumer.poll(timeout_ms=POLL_MS).items():
                    found[each] += _values(records)
            raise ServersError(f"the topic can't be read to its end, {ends}")
        finally:
            consumer.close(autocommit=False, timeout_ms=ANSWER_MS)


@dataclass(frozen=True)
class KafkaSystem:
    """Kafka in one configuration; see `interface.System`.

    Attributes:
        name: The configuration's short name.
        config: Broker settings.
        guarantee: What an acknowledgement means.
        topic: Topic settings.
        acks: What the producer waits for.
        brokers: How many brokers.
        replicas: How many replicas the topic has; one on each broker if 0.
        controllers: How many nodes do nothing but control; 0 if the brokers do it.
        all_nodes: Whether a fault hits all nodes, or only the leader.
        linked: Whether the nodes reach each other by links.
        apart: Whether each node is on a host of its own.
        kind: What happens before the load, and after a fault.
    """

    name: str
    config: Mapping[str, str]
    guarantee: str
    topic: Mapping[str, str] = field(default_factory=dict)
    acks: str = "all"
    brokers: int = 1
    replicas: int = 0
    controllers: int = 0
    all_nodes: bool = True
    linked: bool = False
    apart: bool = False
    kind: type[RunningKafka] = RunningKafka
    system: str = field(default="kafka", init=False)

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.System`."""
        shown = {f"broker: {key}": value for key, value in self._broker().items()}
        shown |= {f"topic: {key}": value for key, value in self.topic.items()}
        if self.replicas:
            shown["topic: replicas"] = str(self.replicas)
        if self.controllers:
            shown["dedicated controllers"] = str(self.controllers)
        return {"brokers": str(self.brokers), "acks": self.acks, **shown}

    def _broker(self) -> dict[str, str]:
        return {**QUICK, **self.config}

    @contextmanager
    def run(self, medium: Medium, folder: Path) -> Iterator[RunningKafka]:
        """See `interface.System`."""
        with ExitStack() as stack:
            disks: list[Disk] = []

            def storage(name: str) -> Storage:
                disks.append(stack.enter_context(medium.disk(name, folder)))
                return disks[-1].storage

            links: dict[str, Link] = {}

            def via(name: str, port: int) -> int:
                links[name] = stack.enter_context(Link(port))
                return links[name].port

            net = stack.enter_context(network()) if self.apart else None
            server = stack.enter_context(
                local.kafka(
                    brokers=self.brokers,
                    controllers=self.controllers,
                    custom=Custom(self._broker()),
                    storage=storage,
                    via=via if self.linked else None,
                    host=net.host if net else loopback,
                )
            )
            running = self.kind(server, disks, self.acks, self.all_nodes, links, net)
            running.make_topic(self.topic, self.replicas or self.brokers)
            running.prepare()
            yield running
