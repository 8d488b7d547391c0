"""The kinds of consumers: what they read with, and when they acknowledge."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import (
    CooperativeStickyAssignor,
)
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from snippets.labs.history import GROUP, LOG
from snippets.labs.scenarios.survivor import MEMBER, SESSION_MS
from snippets.labs.systems.kafka import ANSWER_MS, POLL_MS, RECONNECT
from snippets.labs.systems.redis import FIELD, connect

BATCH = 20
# Whoever acknowledges seldom does so when there is no more to do: it owes all till then.
SELDOM = sys.maxsize
AUTO_COMMIT_MS = 100
BLOCK_MS = 50
FULL_BATCH_S = 1.0
# A record of ours takes 70 bytes: so many of each of two partitions make a batch. Else
# a batch would be of one partition, and perhaps not of the one that another gets.
FETCH_BYTES = 70 * BATCH // 2


class NotAcknowledged(Exception):  # noqa: N818 - it is an answer, and not an error
    """The server has refused it, or something else than this client does it."""


# Gives what is to be acknowledged; it is, if the block ends without `NotAcknowledged`.
Settling = Callable[[], AbstractContextManager[Sequence[int]]]


class Client(Protocol):
    """How a worker takes values, and when it acknowledges them.

    Attributes:
        acknowledges_first: Whether the acknowledgement comes before the work.
        owes: How many values it takes before it acknowledges any.
        exact: Whether it can acknowledge a part of what it has taken.
        when_revoked: Called before another member gets what this one has; if it asks.
    """

    acknowledges_first: bool
    owes: int
    exact: bool
    when_revoked: Settling

    def take(self) -> Sequence[int]:
        """Return the next values, up to a batch."""

    def acknowledge(self, values: Sequence[int]) -> None:
        """Acknowledge what was taken.

        Args:
            values: All that is not acknowledged yet, or a part of it if `exact`.

        Raises:
            NotAcknowledged: It is not done, or not by this client.
        """

    def close(self) -> None:
        """Leave in order."""


@dataclass(frozen=True)
class Member:
    """Who a client is.

    Attributes:
        address: Of the server.
        name: Its own, unique in the group.
        partitions: How many partitions there are to share.
    """

    address: str
    name: str
    partitions: int = 1


def _nothing() -> AbstractContextManager[Sequence[int]]:
    return nullcontext(())


class RedisWorker:
    """Reads with XREADGROUP."""

    owes = 1
    exact = True

    def __init__(
        self, member: Member, *, noack: bool = False, acknowledges_first: bool = False
    ) -> None:
        """Connect."""
        self._client = connect(member.address)
        self._name = member.name
        self._noack = noack
        self._ids: dict[int, str] = {}
        self.acknowledges_first = acknowledges_first
        self.when_revoked: Settling = _nothing

    def take(self) -> Sequence[int]:
        """See `Client`."""
        reply: Any = self._client.xreadgroup(
            GROUP,
            self._name,
            {LOG: ">"},
            count=BATCH,
            block=BLOCK_MS,
            noack=self._noack,
        )
        entries = reply[0][1] if reply else []
        taken = {int(fields[FIELD]): entry for entry, fields in entries}
        self._ids |= taken
        return list(taken)

    def acknowledge(self, values: Sequence[int]) -> None:
        """See `Client`."""
        if self._noack:
            raise NotAcknowledged
        self._client.xack(LOG, GROUP, *[self._ids.pop(value) for value in values])

    def close(self) -> None:
        """See `Client`."""
        self._client.close()


class KafkaWorker:
    """Reads with kafka-python, as a member of the group."""

    def __init__(
        self,
        member: Member,
        *,
        auto: bool = False,
        acknowledges_first: bool = False,
        exact: bool = False,
        owes: int = 1,
        listens: bool = False,
        cooperative: bool = False,
    ) -> None:
        """Join the group."""
        self._auto = auto
        self._ends: dict[int, tuple[TopicPartition, int]] = {}
        self.acknowledges_first = acknowledges_first
        self.exact = exact
        self.owes = owes
        self.when_revoked: Settling = _nothing
        more: dict[str, Any] = {}
        if cooperative:
            more["partition_assignment_strategy"] = [CooperativeStickyAssignor]
        if member.partitions > 1:
            more["max_partition_fetch_bytes"] = FETCH_BYTES
        self._consumer = KafkaConsumer(
            bootstrap_servers=member.address,
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=auto,
            auto_commit_interval_ms=AUTO_COMMIT_MS,
            max_poll_records=BATCH,
            **MEMBER,
            **RECONNECT,
            **more,
        )
        self._consumer.subscribe([LOG], listener=_Listener(self) if listens else None)

    def take(self) -> Sequence[int]:
        """See `Client`."""
        taken = {
            int(each.value): (partition, each.offset + 1)
            for partition, records in self._consumer.poll(timeout_ms=POLL_MS).items()
            for each in records
        }
        self._ends |= taken
        return list(taken)

    def acknowledge(self, values: Sequence[int]) -> None:
        """See `Client`."""
        if self._auto:
            raise NotAcknowledged
        try:
            self._consumer.commit(self._offsets(values), timeout_ms=ANSWER_MS)
        except KafkaError as error:
            raise NotAcknowledged from error

    async def settle(self) -> None:
        """Acknowledge in the rebalance listener."""
        with self.when_revoked() as values:
            if values:
                try:
                    await self._consumer.commit_async(self._offsets(values))
                except KafkaError as error:
                    raise NotAcknowledged from error

    def _offsets(
        self, values: Sequence[int]
    ) -> dict[TopicPartition, OffsetAndMetadata] | None:
        """Return what comes after values, or nothing to commit the position."""
        if not self.exact:
            return None
        # The later value of a partition replaces the earlier one.
        ends = dict(self._ends.pop(value) for value in values)
        return {
            partition: OffsetAndMetadata(end, "", -1) for partition, end in ends.items()
        }

    def close(self) -> None:
        """See `Client`."""
        self._consumer.close()


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Acknowledges before another member gets the partitions.

    The other kind of listener can't: kafka-python calls it in the thread that would have
    to send the commit, and raises. https://github.com/dpkp/kafka-python/pull/2968
    """

    def __init__(self, worker: KafkaWorker) -> None:
        self._worker = worker

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002
        await self._worker.settle()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing is to be done."""


class LibrdkafkaWorker:
    """Reads with confluent-kafka, which librdkafka makes a member of the group."""

    acknowledges_first = False
    exact = False

    def __init__(
        self,
        member: Member,
        *,
        auto: bool = False,
        owes: int = 1,
        listens: bool = False,
        kip_848: bool = False,
    ) -> None:
        """Join the group.

        Args:
            member: Who it is.
            auto: Whether its thread commits what was handed out.
            owes: See `Client`.
            listens: Whether it asks to be told of a rebalance.
            kip_848: Whether the broker assigns, by `group.protocol=consumer`.
        """
        import confluent_kafka

        self._auto = auto
        self._kafka = confluent_kafka
        self.owes = owes
        self.when_revoked: Settling = _nothing
        settings = {
            "bootstrap.servers": member.address,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": auto,
            "auto.commit.interval.ms": AUTO_COMMIT_MS,
        }
        if kip_848:
            settings["group.protocol"] = "consumer"
        else:
            settings |= {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 500}
        if member.partitions > 1:
            settings["max.partition.fetch.bytes"] = FETCH_BYTES
        self._consumer = confluent_kafka.Consumer(settings)
        if listens:
            self._consumer.subscribe([LOG], on_revoke=self._settle)
        else:
            self._consumer.subscribe([LOG])

    def take(self) -> Sequence[int]:
        """See `Client`."""
        messages = self._consumer.consume(BATCH, FULL_BATCH_S)
        return [int(each.value() or b"0") for each in messages if not each.error()]

    def acknowledge(self, values: Sequence[int]) -> None:  # noqa: ARG002
        """See `Client`."""
        if self._auto:
            raise NotAcknowledged
        try:
            self._consumer.commit(asynchronous=False)
        except self._kafka.KafkaException as error:
            raise NotAcknowledged from error

    def _settle(self, *_: object) -> None:
        with self.when_revoked() as values:
            if values:
                self.acknowledge(values)

    def close(self) -> None:
        """See `Client`."""
        self._consumer.close()


@dataclass(frozen=True)
class Kind:
    """A kind of consumer.

    Attributes:
        acknowledged_by: Who acknowledges, and when, as a record shows it.
        connect: Makes a client of this kind.
        hands_off: Whether another thread does the work, while this one reads on.
        system: `redis` or `kafka`.
    """

    acknowledged_by: str
    connect: Callable[[Member], Client]
    hands_off: bool = False
    system: str = "kafka"


_AFTER = "commit() after the work for a batch"
_SELDOM_SAID = "commit() when no record is left"
_LISTENER = "in the rebalance listener"
_KIP_848 = partial(LibrdkafkaWorker, kip_848=True)
_SELDOM = partial(KafkaWorker, owes=SELDOM)

_OF_REDIS = {
    "xack-after": Kind("XACK after the work for a batch", RedisWorker),
    "xack-before": Kind(
        "XACK before the work for a batch", partial(RedisWorker, acknowledges_first=True)
    ),
    "noack": Kind("XREADGROUP NOACK: nobody", partial(RedisWorker, noack=True)),
    "xack-hand-off": Kind(
        "XACK when the work is handed to a thread",
        partial(RedisWorker, acknowledges_first=True),
        hands_off=True,
    ),
    "xack-when-done": Kind(
        "XACK when the thread has done the work", RedisWorker, hands_off=True
    ),
}
KINDS = {
    **{name: replace(kind, system="redis") for name, kind in _OF_REDIS.items()},
    "commit-after": Kind(_AFTER, KafkaWorker),
    "commit-before": Kind(
        "commit() before the work for a batch",
        partial(KafkaWorker, acknowledges_first=True),
    ),
    "commit-seldom": Kind(_SELDOM_SAID, _SELDOM),
    "commit-seldom-cooperative": Kind(
        f"{_SELDOM_SAID}, with the cooperative assignor",
        partial(_SELDOM, cooperative=True),
    ),
    "commit-seldom-listener": Kind(
        f"{_SELDOM_SAID}, and {_LISTENER}", partial(_SELDOM, listens=True)
    ),
    "commit-done-listener": Kind(
        f"{_SELDOM_SAID}, and {_LISTENER} the offsets of what is done",
        partial(_SELDOM, listens=True, exact=True),
    ),
    "commit-after-librdkafka": Kind(_AFTER, LibrdkafkaWorker),
    "commit-after-kip-848": Kind(_AFTER, _KIP_848),
    "commit-seldom-kip-848": Kind(_SELDOM_SAID, partial(_KIP_848, owes=SELDOM)),
    "commit-listener-kip-848": Kind(
        f"{_SELDOM_SAID}, and {_LISTENER}", partial(_KIP_848, owes=SELDOM, listens=True)
    ),
    "commit-when-done": Kind(
        "commit() of the offsets for which a thread has done the work",
        partial(KafkaWorker, exact=True),
        hands_off=True,
    ),
    "auto-commit": Kind(
        "kafka-python's auto-commit, in poll()", partial(KafkaWorker, auto=True)
    ),
    "auto-commit-hand-off": Kind(
        "kafka-python's auto-commit, in poll(), while a thread works",
        partial(KafkaWorker, auto=True),
        hands_off=True,
    ),
    "auto-commit-librdkafka": Kind(
        "confluent-kafka's auto-commit, in its own thread",
        partial(LibrdkafkaWorker, auto=True),
    ),
}


def kind_of(name: str) -> Kind:
    """Return a kind of consumer by its name.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in KINDS:
        raise ValueError(f"there is no worker of kind {name!r}: {', '.join(KINDS)}")
    return KINDS[name]
