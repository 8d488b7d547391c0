"""What the lab on memory measures, and what it must show if it is right.

To add a quantity, write its shape (see `shapes`), the measurement, and name both in
`QUANTITIES`. Shapes to hold the model against are drawn anew from each seed.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from snippets.labs.memory.kafka import Broker, broker
from snippets.labs.memory.record import Quantity
from snippets.labs.memory.redis import Logged, Measured, logged, memory
from snippets.labs.memory.shapes import (
    AppendShape,
    CommitShape,
    CompressedShape,
    EntryShape,
    GroupShape,
    IndexShape,
    PendingShape,
    ReadShape,
    RecordShape,
    Shape,
    SnapshotShape,
)
from snippets.labs.workspace import Workspace

QUESTION = (
    "What does an entry cost in memory, on disk and on the way to replicas, by its "
    "shape, and what does it cost to read it through a group?"
)
# A prediction for a shape that the fit has not seen is at most so far off.
WITHIN = 0.10
HELD_OUT = 8
# The part of shapes drawn by chance in which all entries have the same fields.
MOSTLY = 0.7
# More than an entry of as many bytes would take to say who has it, and since when.
PENDING_BYTES = 100


@dataclass(frozen=True)
class PlannedQuantity:
    """A quantity, and the shapes in which it is measured.

    Attributes:
        name: Its name, such as `redis/entry`.
        what: What is measured, with its unit.
        server: Runs the server on which it is measured.
        measure: Measures a shape on it.
        shapes: Those to which the constants are fitted, or all if there is no model.
        draw: Makes a shape by chance, to hold the model against; None without a model.
        quick: The shapes that suffice to see the headline; none if it takes too long.
    """

    name: str
    what: str
    server: Callable[[Workspace], AbstractContextManager[Any]]
    measure: Callable[[Any, Any], float]
    shapes: Sequence[Shape]
    draw: Callable[[random.Random], Shape] | None
    quick: Sequence[Shape] = ()

    @property
    def system(self) -> str:
        """`redis` or `kafka`."""
        return self.name.partition("/")[0]

    def missing(self, place: Workspace) -> str | None:  # noqa: ARG002
        """Say why it can't be measured here: it needs nothing but the servers."""
        return None

    def held_out(self, seed: int) -> list[Shape]:
        """Return the shapes that the fit doesn't see, as they derive from a seed."""
        if self.draw is None:
            return []
        choice = random.Random(f"{seed}/{self.name}")  # noqa: S311
        drawn: list[Shape] = []
        while len(drawn) < HELD_OUT:
            shape = self.draw(choice)
            if shape not in drawn and shape not in self.shapes:
                drawn.append(shape)
        return drawn


def _memory(_: Workspace) -> AbstractContextManager[Measured]:
    return memory()


def _logged(_: Workspace) -> AbstractContextManager[Logged]:
    return logged()


@contextmanager
def _broker(place: Workspace) -> Iterator[Broker]:
    with place.temporary("broker") as folder, broker(folder) as server:
        yield server


def _entry(choice: random.Random) -> EntryShape:
    fields = choice.randrange(1, 9)
    limits = choice.choice([(4096, 100), (4096, 100), (8192, 200), (16384, 0)])
    return EntryShape(
        fields,
        name_bytes=choice.randrange(6, 24),
        # As many short ones as long ones.
        value_bytes=round(10 ** choice.uniform(0.5, 3.3)),
        same_names=choice.random() < MOSTLY,
        apart_ms=choice.choice([0, 1, 5, 50]),
        node_max_bytes=limits[0],
        node_max_entries=limits[1],
    )


def _read(choice: random.Random) -> ReadShape:
    return ReadShape(
        count=choice.choice([1, 3, 20, 50, 250]),
        mode=choice.choice(["XACK", "XACKDEL", "NOACK", "none"]),
        key_bytes=choice.randrange(4, 40),
        group_bytes=choice.randrange(4, 40),
        consumer_bytes=choice.randrange(4, 40),
    )


def _record(choice: random.Random) -> RecordShape:
    return RecordShape(
        records=choice.choice([1, 2, 5, 20, 50, 200]),
        value_bytes=round(10 ** choice.uniform(0.5, 3.3)),
        key_bytes=choice.choice([0, 8, 36, 100]),
    )


def _compressed(codec: str) -> PlannedQuantity:
    def draw(choice: random.Random) -> CompressedShape:
        size = choice.randrange(120, 1200)
        return CompressedShape(codec, records=choice.randrange(2, 200), value_bytes=size)

    return PlannedQuantity(
        f"kafka/{codec}",
        f"bytes on disk for a record of an order as JSON with {codec}, on each replica",
        _broker,
        Broker.compressed,
        [
            CompressedShape(codec, records, size)
            for records in (1, 10, 100, 400)
            for size in (100, 300, 600, 1000)
            # What a codec can't make smaller is sent as it is.
            if records * size > FEW_BYTES
        ],
        draw,
        [CompressedShape(codec, records, 300) for records in (1, 100)],
    )


# A batch of so few bytes of JSON does not become smaller.
FEW_BYTES = 100
CODECS = ("gzip", "snappy", "lz4", "zstd")
SIZES = (1, 10, 30, 60, 100, 200, 500, 1000, 2000, 5000, 10_000)
MODES = ("XACK", "XACKDEL", "NOACK", "none")

QUANTITIES = (
    PlannedQuantity(
        "redis/entry",
        "bytes of memory for an entry of a stream",
        _memory,
        Measured.entry,
        [
            *[EntryShape(1, 5, size) for size in SIZES],
            *[EntryShape(fields, 8, 20) for fields in (2, 4, 8, 16)],
            *[EntryShape(fields, 8, 20, same_names=False) for fields in (1, 4, 8)],
            *[EntryShape(1, 5, 100, apart_ms=apart) for apart in (0, 10, 100)],
            EntryShape(1, 5, 100, node_max_entries=10),
            EntryShape(1, 5, 100, node_max_bytes=16384, node_max_entries=0),
            EntryShape(1, 5, 10, node_max_entries=1000, node_max_bytes=16384),
        ],
        _entry,
        [
            EntryShape(1, 5, 100),
            EntryShape(1, 5, 1000),
            EntryShape(4, 8, 20),
            EntryShape(4, 8, 20, same_names=False),
        ],
    ),
    PlannedQuantity(
        "redis/pending",
        "bytes of memory for an entry that is delivered and not acknowledged, in each "
        "group",
        _memory,
        Measured.pending,
        [PendingShape(groups, apart) for groups in (1, 2, 4) for apart in (0, 1, 10)],
        lambda choice: PendingShape(choice.randrange(1, 7), choice.choice([0, 2, 5, 30])),
        [PendingShape(1, 1), PendingShape(3, 1)],
    ),
    PlannedQuantity(
        "redis/group",
        "bytes of memory for a group with its consumers, nothing pending",
        _memory,
        Measured.group,
        [GroupShape(count, name) for count in (0, 1, 4, 16) for name in (8, 20, 40)],
        lambda choice: GroupShape(choice.randrange(20), choice.randrange(6, 50)),
        [GroupShape(0), GroupShape(10)],
    ),
    PlannedQuantity(
        "redis/snapshot",
        "bytes of memory that are copied during a BGSAVE for an entry that changes",
        _memory,
        Measured.snapshot,
        [
            SnapshotShape(work, entries)
            for work in ("append", "acknowledge")
            for entries in (1_000, 5_000)
        ],
        None,
    ),
    PlannedQuantity(
        "redis/append-log",
        "bytes in the append-only file, and to each replica, for an XADD",
        _logged,
        Logged.append,
        [
            AppendShape(fields, 8, size)
            for fields in (1, 4)
            for size in (1, 10, 100, 1000)
        ],
        lambda choice: AppendShape(
            fields=choice.randrange(1, 9),
            name_bytes=choice.randrange(6, 24),
            value_bytes=round(10 ** choice.uniform(0.5, 3.3)),
            key_bytes=choice.randrange(4, 40),
        ),
        [AppendShape(1, 8, 100)],
    ),
    PlannedQuantity(
        "redis/read-log",
        "bytes in the append-only file, and to each replica, for an entry that is read "
        "through a group and acknowledged",
        _logged,
        Logged.read,
        [ReadShape(count, mode) for mode in MODES for count in (1, 2, 5, 10, 100)],
        _read,
        [ReadShape(count, mode) for mode in ("XACK", "NOACK") for count in (1, 100)],
    ),
    PlannedQuantity(
        "kafka/record",
        "bytes on disk for a record, not compressed, on each replica",
        _broker,
        Broker.record,
        [
            *[RecordShape(count, 100) for count in (1, 10, 100, 1000)],
            *[RecordShape(10, size) for size in (1, 10, 1000)],
            *[RecordShape(10, 100, key) for key in (10, 80)],
            RecordShape(100, 1000),
        ],
        _record,
        [RecordShape(1, 100), RecordShape(100, 100), RecordShape(100, 100, 10)],
    ),
    *map(_compressed, CODECS),
    PlannedQuantity(
        "kafka/index",
        "bytes in the indexes of a partition for a batch",
        _broker,
        Broker.index,
        [IndexShape(size) for size in (500, 1000, 3000, 5000, 20_000)],
        lambda choice: IndexShape(choice.randrange(400, 30_000)),
        [IndexShape(1000), IndexShape(20_000)],
    ),
    PlannedQuantity(
        "kafka/commit",
        "bytes in the log of __consumer_offsets for an offset commit",
        _broker,
        Broker.commit,
        [
            CommitShape(partitions, group, topic)
            for partitions in (1, 4, 16)
            for group, topic in ((7, 6), (30, 10), (10, 40))
        ],
        lambda choice: CommitShape(
            choice.randrange(1, 30), choice.randrange(4, 50), choice.randrange(4, 50)
        ),
        [CommitShape(1), CommitShape(10)],
    ),
)


@dataclass(frozen=True)
class Relation:
    """What a quantity must show.

    Attributes:
        cells: A pattern for the quantities' names.
        sentence: What they show.
        holds: Tells whether a quantity shows it.
    """

    cells: str
    sentence: str
    holds: Callable[[Quantity], bool]


def at(quantity: Quantity, **wanted: object) -> float:
    """Return what was measured of the one shape that has these values.

    Raises:
        LookupError: No such shape was measured, or several.
    """
    found = [
        point.measured
        for point in quantity.points
        if not point.held_out
        and all(getattr(point.shape, name, None) == want for name, want in wanted.items())
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} shapes have {wanted}")
    return found[0]


def _smaller(
    smaller: dict[str, object], larger: dict[str, object]
) -> Callable[[Quantity], bool]:
    return lambda quantity: at(quantity, **smaller) < at(quantity, **larger)


RELATIONS = (
    Relation(
        "*",
        f"what the model predicts for an unseen shape is within {WITHIN:.0%}",
        lambda quantity: quantity.worst(held_out=True) <= WITHIN,
    ),
    Relation(
        "redis/entry",
        "fields that the entries don't share cost more",
        _smaller(
            {"fields": 4, "value_bytes": 20, "same_names": True},
            {"fields": 4, "value_bytes": 20, "same_names": False},
        ),
    ),
    Relation(
        "redis/pending",
        f"a pending entry costs more than {PENDING_BYTES} B in each group",
        lambda quantity: all(each.measured > PENDING_BYTES for each in quantity.points),
    ),
    Relation(
        "redis/read-log",
        "reading one by one writes more than reading a hundred at once",
        _smaller({"count": 100, "mode": "XACK"}, {"count": 1, "mode": "XACK"}),
    ),
    Relation(
        "redis/read-log",
        "NOACK writes less than XACK",
        _smaller({"count": 1, "mode": "NOACK"}, {"count": 1, "mode": "XACK"}),
    ),
    Relation(
        "redis/snapshot",
        "an acknowledgement copies more than an append",
        _smaller(
            {"work": "append", "entries": 5_000},
            {"work": "acknowledge", "entries": 5_000},
        ),
    ),
    Relation(
        "kafka/record",
        "a record alone in its batch takes more than one among a hundred",
        _smaller(
            {"records": 100, "value_bytes": 100, "key_bytes": 0},
            {"records": 1, "value_bytes": 100, "key_bytes": 0},
        ),
    ),
    *(
        Relation(
            f"kafka/{codec}",
            "records that are compressed together take less than alone",
            _smaller(
                {"records": 100, "value_bytes": 300}, {"records": 1, "value_bytes": 300}
            ),
        )
        for codec in CODECS
    ),
)


@dataclass(frozen=True)
class MemoryPlan:
    """All that the lab is to measure.

    Attributes:
        name: The lab's name, which is also its record's.
        question: What it is to answer.
        cells: The quantities.
        relations: What they must show.
    """

    name: str
    question: str
    cells: Sequence[PlannedQuantity]
    relations: Sequence[Relation] = RELATIONS


def full() -> MemoryPlan:
    """Return all quantities in all shapes."""
    return MemoryPlan("memory", QUESTION, QUANTITIES)


def quick(place: Workspace) -> MemoryPlan:  # noqa: ARG001
    """Return the headlines: few shapes, and the relations between them.

    Args:
        place: Where it would be tried what works here; all of this works anywhere.
    """
    cells = [replace(each, shapes=each.quick) for each in QUANTITIES if each.quick]
    names = {each.name for each in cells}
    relations = [
        each for each in RELATIONS if any(fnmatchcase(name, each.cells) for name in names)
    ]
    return MemoryPlan("memory", QUESTION, cells, relations)
