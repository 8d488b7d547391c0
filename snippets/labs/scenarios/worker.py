"""A consumer that is a process of its own, and so can be killed or frozen.

`python -m snippets.labs.scenarios.worker KIND ADDRESS HISTORY` works until it is killed.
"""

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from kafka import KafkaConsumer
from kafka.errors import KafkaError

from snippets.labs.history import GROUP, LOG, Action, Journal, Phase
from snippets.labs.scenarios.survivor import MEMBER, SESSION_MS
from snippets.labs.systems.kafka import ANSWER_MS, PARTITION, POLL_MS, RECONNECT
from snippets.labs.systems.redis import FIELD, connect

NAME = "consumer-1"
BATCH = 20
# The work for one value; half a batch is much longer than the interval of auto-commit.
WORK_S = 0.03
AUTO_COMMIT_MS = 100
BLOCK_MS = 50
FULL_BATCH_S = 1.0


class Refused(Exception):  # noqa: N818 - it is an answer, and not an error
    """The server does not take the acknowledgement."""


class Client(Protocol):
    """How a worker takes values, and when it acknowledges them."""

    acknowledges_first: bool
    """Whether the acknowledgement comes before the work."""

    def take(self) -> Sequence[int]:
        """Return the next values, up to a batch."""

    def acknowledge(self) -> bool:
        """Acknowledge what was taken last, unless something else does so.

        Returns:
            Whether this client has done it.

        Raises:
            Refused: The server refuses it.
        """


class RedisWorker:
    """Reads with XREADGROUP, as `consumer`."""

    def __init__(self, url: str, *, noack: bool, acknowledges_first: bool) -> None:
        """Connect."""
        self._client = connect(url)
        self._noack = noack
        self._ids: list[str] = []
        self.acknowledges_first = acknowledges_first

    def take(self) -> Sequence[int]:
        """See `Client`."""
        reply: Any = self._client.xreadgroup(
            GROUP,
            "consumer",
            {LOG: ">"},
            count=BATCH,
            block=BLOCK_MS,
            noack=self._noack,
        )
        entries = reply[0][1] if reply else []
        self._ids = [entry for entry, _ in entries]
        return [int(fields[FIELD]) for _, fields in entries]

    def acknowledge(self) -> bool:
        """See `Client`."""
        if self._noack:
            return False
        self._client.xack(LOG, GROUP, *self._ids)
        return True


class KafkaWorker:
    """Reads with kafka-python, as a member of the group."""

    def __init__(self, servers: str, *, auto: bool, acknowledges_first: bool) -> None:
        """Join the group."""
        self._auto = auto
        self.acknowledges_first = acknowledges_first
        self._consumer = KafkaConsumer(
            LOG,
            bootstrap_servers=servers,
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=auto,
            auto_commit_interval_ms=AUTO_COMMIT_MS,
            max_poll_records=BATCH,
            **MEMBER,
            **RECONNECT,
        )

    def take(self) -> Sequence[int]:
        """See `Client`."""
        records = self._consumer.poll(timeout_ms=POLL_MS).get(PARTITION, [])
        return [int(each.value) for each in records]

    def acknowledge(self) -> bool:
        """See `Client`."""
        if self._auto:
            return False
        try:
            self._consumer.commit(timeout_ms=ANSWER_MS)
        except KafkaError as error:
            raise Refused from error
        return True


class LibrdkafkaWorker:
    """Reads with confluent-kafka, whose thread commits what was handed out."""

    acknowledges_first = False

    def __init__(self, servers: str) -> None:
        """Join the group."""
        import confluent_kafka

        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": True,
                "auto.commit.interval.ms": AUTO_COMMIT_MS,
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": 500,
            }
        )
        self._consumer.subscribe([LOG])

    def take(self) -> Sequence[int]:
        """See `Client`."""
        messages = self._consumer.consume(BATCH, FULL_BATCH_S)
        return [int(each.value() or b"0") for each in messages if not each.error()]

    def acknowledge(self) -> bool:
        """See `Client`."""
        return False


def client(kind: str, address: str) -> Client:
    """Connect a client of a kind; see `KINDS` in `consumers`."""
    match kind:
        case "xack-after" | "xack-before" | "noack":
            before = kind == "xack-before"
            noack = kind == "noack"
            return RedisWorker(address, noack=noack, acknowledges_first=before)
        case "auto-commit-librdkafka":
            return LibrdkafkaWorker(address)
        case "commit-after" | "commit-before" | "auto-commit":
            auto, before = kind == "auto-commit", kind == "commit-before"
            return KafkaWorker(address, auto=auto, acknowledges_first=before)
        case _:
            raise ValueError(f"there is no worker of kind {kind!r}")


def work(taker: Client, journal: Journal) -> None:
    """Take a batch, and do its work value by value."""
    values = taker.take()

    def note(action: Action, phase: Phase, *noted: int) -> None:
        for value in noted:
            journal.note(NAME, action, value, phase, key=GROUP)

    def acknowledge() -> None:
        note(Action.ACKNOWLEDGE, Phase.INVOKE, *values)
        try:
            done = taker.acknowledge()
        except Refused:
            note(Action.ACKNOWLEDGE, Phase.UNKNOWN, *values)
        else:
            note(Action.ACKNOWLEDGE, Phase.OK if done else Phase.UNKNOWN, *values)

    note(Action.DELIVER, Phase.OK, *values)
    if values and taker.acknowledges_first:
        acknowledge()
    for value in values:
        threading.Event().wait(WORK_S)
        note(Action.PROCESS, Phase.OK, value)
    if values and not taker.acknowledges_first:
        acknowledge()


def main() -> None:
    """Work for ever."""
    kind, address, path = json.loads(sys.argv[1])
    taker = client(kind, address)
    with Journal(Path(path)) as journal:
        while True:
            work(taker, journal)


if __name__ == "__main__":
    main()
