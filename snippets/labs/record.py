"""What a lab has found, with all that it depends on, as a file that is whole or absent.

`docs/data/<lab>.json` is written anew after each cell, under another name first. So a run
that is killed leaves the cells before it, and the next run goes on after them.
"""

import os
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "data"

Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]
# Numbers on one line: a list would take a line for each of them.
Counts = Annotated[str, Meta(pattern=r"^\d+( \d+)*$")]
Record = TypeVar("Record", bound="Part")


class RecordError(Exception):
    """A file is not a record of a lab: says where, and what is wrong there."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a record: no field is missing, unknown or of another type."""


class Host(Part, frozen=True):
    """The machine on which the servers and the load ran.

    Attributes:
        system: The operating system and the release of its kernel.
        machine: The kind of processor.
        cores: How many of them.
        memory_gib: Its memory.
        settings: What of the machine bears on the outcome, by the kernel's own name.
    """

    system: str
    machine: str
    cores: Count
    memory_gib: Amount
    settings: dict[str, str]


class TimeLine(Part, frozen=True):
    """How writes fared around a fault, in steps of the same length; see `checkers.Step`.

    Attributes:
        step_ms: The length of a step.
        before: How many steps there are before the fault.
        attempted: How many writes began in each step.
        unacknowledged: How many of these were never acknowledged.
        acknowledged: How many values were acknowledged in each step.
    """

    step_ms: Count
    before: Count
    attempted: Counts
    unacknowledged: Counts
    acknowledged: Counts


class Trial(Part, frozen=True):
    """What one trial came to.

    Attributes:
        seed: What its random choices derive from.
        load_s: How long the load ran before the fault.
        acknowledged: How many values were acknowledged until the fault had struck.
        lost: How many acknowledged values are gone, of those and of later ones.
        oldest_lost_ms: How long before the fault the oldest of them was acknowledged.
        unacknowledged: How many values are there though their writer never heard so.
        duplicated: How many copies are too many.
        reordered: How many values were overtaken by later ones.
        phantom: How many values nobody has written.
        unavailable_s: The longest time without an acknowledgement, from the fault on.
        group: What became of the consumer group: `kept`, `set back` or `gone`.
        redelivered: How many values the group got again though it had acknowledged them.
        forgotten: How many values the group had in hand at the fault, unacknowledged, and
            never got again though they are left.
        never_delivered: How many values are left that the group never got.
        refused: How many writes failed for certain, and were not done.
        unprocessed: How many acknowledged values the group has never done its work for,
            where a lab looks at that.
        repeated: How many times too many it has done the work for a value.
        refused_start: What the server said when it would not start on what was left;
            the counts are those after its own repair tool.
        meanwhile: How many values were acknowledged after the fault had struck, and
            before its repair was over.
        time_line: How writes fared around the fault, where a cell is to show it.
    """

    seed: Count
    load_s: Amount
    acknowledged: Count
    lost: Count
    oldest_lost_ms: Amount
    unacknowledged: Count
    duplicated: Count
    reordered: Count
    phantom: Count
    unavailable_s: Amount
    group: str
    redelivered: Count
    forgotten: Count
    never_delivered: Count
    refused: Count = 0
    unprocessed: Count = 0
    repeated: Count = 0
    refused_start: str = ""
    meanwhile: Count = 0
    time_line: TimeLine | None = None


class Void(Part, frozen=True):
    """A trial that says nothing, as it was the harness that failed."""

    seed: Count
    reason: str


class Cell(Part, frozen=True):
    """One configuration under one fault.

    Attributes:
        system: `redis` or `kafka`.
        configuration: Its short name.
        settings: What is not the server's default.
        guarantee: What an acknowledgement means with these settings.
        fault: The fault's short name.
        backend: What the fault was done with; empty for a fault that needs nothing.
        file_system: On what the servers' data were.
        rate: How many values a second the load writes, as intended.
        command: What repeats the cell.
        versions: The servers' and clients' versions by name.
        host: Where it ran.
        date: When it ran, in UTC.
        seed: What the seeds of its trials derive from.
        trials: What came out.
        void: The trials that say nothing.
        not_run: Why it can't be run here; there are no trials then.
    """

    system: str
    configuration: str
    settings: dict[str, str]
    guarantee: str
    fault: str
    backend: str
    file_system: str
    rate: Amount
    command: str
    versions: dict[str, str]
    host: Host
    date: str
    seed: Count
    trials: list[Trial] = []
    void: list[Void] = []
    not_run: str = ""


class Lab(Part, frozen=True):
    """All that a lab has recorded.

    Attributes:
        question: What it is to answer.
        command: What repeats it.
        controls: By back end, `held`, or what the controls of the run found wrong: a
            result whose controls don't hold is void.
        cells: What was found, by the cell's name.
    """

    question: str
    command: str
    controls: dict[str, str]
    cells: dict[str, Cell]


def load(path: Path) -> Lab | None:
    """Return what a lab with trials has recorded; see `load_as`."""
    return load_as(path, Lab)


def load_as(path: Path, kind: type[Record]) -> Record | None:
    """Return what is recorded; None if nothing is.

    Args:
        path: The file.
        kind: What it is a record of.

    Raises:
        RecordError: It is not such a record.
    """
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(written, type=kind)
    except msgspec.DecodeError as error:
        raise RecordError(
            f"{path} is not a record of a lab: {error}. Restore it from version control, "
            "or remove it and run the lab again."
        ) from error


def save(path: Path, lab: Lab) -> None:
    """Write what a lab with trials has found; see `write`.

    Args:
        path: The file.
        lab: What to write. The cells are sorted by their names.
    """
    write(path, msgspec.structs.replace(lab, cells=dict(sorted(lab.cells.items()))))


def write(path: Path, whole: Part) -> None:
    """Write a record; whoever reads meanwhile sees the old one or the new one, whole.

    Args:
        path: The file.
        whole: What to write.
    """
    text = msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
