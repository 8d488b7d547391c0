"""The member of a group that comes after the fault, and does all work that is left."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer

from snippets.labs.history import GROUP, LOG, Action, Journal, Phase
from snippets.labs.load import Consumer, LoadError, Position
from snippets.labs.systems.kafka import ANSWER_MS, PARTITION, POLL_MS, RECONNECT
from snippets.labs.systems.redis import FIELD, Connection

NAME = "consumer-2"
SURVIVOR = "survivor"
BATCH = 50
PATIENCE_S = 60.0

# A dead member of a Kafka group is noticed after so long; the default is 45 s.
SESSION_MS = 3000
MEMBER = {"session_timeout_ms": SESSION_MS, "heartbeat_interval_ms": 500}
BROKER = {"group.min.session.timeout.ms": "1000"}


class RedisSurvivor:
    """Takes over what others hold, then takes what is new; see `load.Consumer`."""

    selective = False
    position: Position | None = None

    def __init__(self, client: Connection, min_idle_ms: int) -> None:
        """Take over a connection.

        Args:
            client: A connection.
            min_idle_ms: What was delivered so long ago counts as abandoned.
        """
        self._client = client
        self._min_idle_ms = min_idle_ms
        self._cursor: str | None = "0-0"
        self._ids: dict[int, str] = {}
        self._at_end = False

    def take(self) -> Sequence[int]:
        """See `load.Consumer`."""
        entries: Any
        if self._cursor is not None:
            self._cursor, entries, _ = self._client.xautoclaim(
                LOG, GROUP, SURVIVOR, self._min_idle_ms, start_id=self._cursor
            )
            if self._cursor == "0-0":
                self._cursor = None
        else:
            reply: Any = self._client.xreadgroup(GROUP, SURVIVOR, {LOG: ">"}, count=BATCH)
            entries = reply[0][1] if reply else []
            self._at_end = not entries and not self._others_hold()
            if not entries and not self._at_end:
                self._cursor = "0-0"
        self._ids = {int(fields[FIELD]): entry for entry, fields in entries}
        return list(self._ids)

    def _others_hold(self) -> bool:
        summary: Any = self._client.xpending(LOG, GROUP)
        return bool(summary["pending"])

    def acknowledge(self, values: Sequence[int]) -> None:
        """See `load.Consumer`."""
        self._client.xack(LOG, GROUP, *[self._ids[value] for value in values])

    def at_end(self) -> bool:
        """See `load.Consumer`."""
        return self._at_end

    def close(self) -> None:
        """See `load.Consumer`."""
        self._client.close()


class KafkaSurvivor:
    """Joins the group, and gets the partition when no other member has it."""

    selective = False
    position: Position | None = None

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Join the group."""
        self._consumer = KafkaConsumer(
            LOG,
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **MEMBER,
            **RECONNECT,
            **settings,
        )

    def take(self) -> Sequence[int]:
        """See `load.Consumer`."""
        records = self._consumer.poll(timeout_ms=POLL_MS).get(PARTITION, [])
        return [int(each.value) for each in records if each.value]

    def acknowledge(self, values: Sequence[int]) -> None:  # noqa: ARG002
        """See `load.Consumer`."""
        self._consumer.commit(timeout_ms=ANSWER_MS)

    def at_end(self) -> bool:
        """See `load.Consumer`."""
        if PARTITION not in self._consumer.assignment():
            return False
        end = self._consumer.end_offsets([PARTITION])[PARTITION]
        return bool(self._consumer.position(PARTITION, timeout_ms=ANSWER_MS) >= end)

    def close(self) -> None:
        """See `load.Consumer`."""
        self._consumer.close(autocommit=False, timeout_ms=ANSWER_MS)


def work_off(consumer: Consumer, journal: Journal, name: str = NAME) -> None:
    """Do the work for all that a group gets, until there is nothing left.

    Args:
        consumer: Reads; it is closed at the end.
        journal: Where each delivery, the work and each acknowledgement is noted.
        name: The consumer's name in the journal.

    Raises:
        LoadError: There is no end.
    """
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not consumer.at_end():
            if time.monotonic() > deadline:
                raise LoadError(f"the group is not at its end after {PATIENCE_S:g} s")
            take_and_work(consumer, journal, name)
    finally:
        consumer.close()


def take_and_work(
    consumer: Consumer, journal: Journal, name: str = NAME
) -> Sequence[int]:
    """Take what there is, do the work, acknowledge it, and return it."""
    values = consumer.take()
    steps = [
        (Action.DELIVER, Phase.OK),
        (Action.PROCESS, Phase.OK),
        (Action.ACKNOWLEDGE, Phase.INVOKE),
    ]
    for action, phase in steps:
        for value in values:
            journal.note(name, action, value, phase, key=GROUP)
    if values:
        consumer.acknowledge(values)
        for value in values:
            journal.note(name, Action.ACKNOWLEDGE, value, Phase.OK, key=GROUP)
    return values
