"""What the lab on memory has found: quantities with points, and constants fitted to them.

It is kept as other labs keep theirs; see `snippets.labs.record`.
"""

from pathlib import Path

import msgspec

from snippets.labs import record
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
    SnapshotShape,
)
from snippets.labs.record import DATA, Amount, Count, Host, Part, RecordError

PATH = DATA / "memory.json"

AnyShape = (
    AppendShape
    | CommitShape
    | CompressedShape
    | EntryShape
    | GroupShape
    | IndexShape
    | PendingShape
    | ReadShape
    | RecordShape
    | SnapshotShape
)


class Point(Part, frozen=True):
    """One shape, as it was measured.

    Attributes:
        shape: What it was.
        measured: Bytes.
        predicted: Bytes by the model with the fitted constants; None without a model.
        held_out: Whether the fit has not seen it.
    """

    shape: AnyShape
    measured: Amount
    predicted: float | None = None
    held_out: bool = False

    @property
    def error(self) -> float:
        """How far the prediction is off, as a part of what was measured; 0 without."""
        if self.predicted is None:
            return 0.0
        return abs(self.predicted - self.measured) / self.measured


class Constant(Part, frozen=True):
    """A constant of a model.

    Attributes:
        bytes: What was fitted.
        error: Its standard error.
    """

    bytes: float
    error: Amount


class Quantity(Part, frozen=True):
    """Something that costs bytes, in several shapes.

    Attributes:
        system: `redis` or `kafka`.
        what: What is measured, with its unit.
        command: What measures it again.
        versions: The servers' and clients' versions by name.
        host: Where it ran.
        date: When it ran, in UTC.
        seed: What the held-out shapes derive from.
        constants: What was fitted, by name; none without a model.
        points: What was measured.
    """

    system: str
    what: str
    command: str
    versions: dict[str, str]
    host: Host
    date: str
    seed: Count
    constants: dict[str, Constant]
    points: list[Point]

    @property
    def values(self) -> dict[str, float]:
        """The constants without their errors."""
        return {name: each.bytes for name, each in self.constants.items()}

    def worst(self, *, held_out: bool) -> float:
        """Return the largest error of a prediction, as a part of what was measured.

        Args:
            held_out: Whether of the shapes that the fit has not seen, or of the others.
        """
        errors = [each.error for each in self.points if each.held_out is held_out]
        return max(errors, default=0.0)


class Memory(Part, frozen=True):
    """All that the lab has recorded.

    Attributes:
        question: What it is to answer.
        command: What repeats it.
        cells: What was found, by the quantity's name.
    """

    question: str
    command: str
    cells: dict[str, Quantity]


def load(path: Path = PATH) -> Memory | None:
    """Return what is recorded; None if nothing is.

    Raises:
        RecordError: It is not a record of this lab.
    """
    return record.load_as(path, Memory)


def save(path: Path, found: Memory) -> None:
    """Write a record; see `record.write`. The cells are sorted by their names."""
    record.write(
        path, msgspec.structs.replace(found, cells=dict(sorted(found.cells.items())))
    )


def constants(path: Path = PATH) -> dict[str, dict[str, float]]:
    """Return the fitted constants in bytes, by quantity and name.

    Raises:
        RecordError: Nothing is recorded.
    """
    if (found := load(path)) is None:
        raise RecordError(f"there is no {path}: record it with `nox -s labs -- memory`")
    return {name: each.values for name, each in found.cells.items() if each.constants}
