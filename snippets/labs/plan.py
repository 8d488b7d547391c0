"""What a lab is to run: its cells, and what they must show if the lab is right."""

import datetime as dt
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from snippets.labs import trial
from snippets.labs.faults.interface import Fault, Injectable, Medium
from snippets.labs.record import Cell, Host, Trial
from snippets.labs.systems.interface import Configured, System
from snippets.labs.trial import Plan
from snippets.labs.workspace import Workspace

SEED_BITS = 32


@dataclass(frozen=True)
class AnyCell:
    """A configuration under a fault, and how often it is tried, in any lab.

    Attributes:
        system: The system in its configuration.
        fault: What happens to it.
        medium: On what disks its data are.
        backend: What the fault is done with; empty for a fault that needs nothing.
        plan: How each trial goes.
        trials: How many trials.
        trial_s: How many seconds a trial takes, as a guess.
    """

    system: Configured
    fault: Injectable
    medium: Medium
    backend: str
    plan: Plan
    trials: int
    trial_s: float

    def run(
        self, seed: int, place: Workspace, history_file: Path | None
    ) -> tuple[Trial, dict[str, str]]:
        """Run one trial; see `trial.run`."""
        raise NotImplementedError

    def missing(self, place: Workspace) -> str | None:
        """Say why it can't be run here; None if it can."""
        return self.fault.can_inject(place)

    @property
    def name(self) -> str:
        """The cell's name, such as `redis/aof-always/power-cut/ext4`."""
        fault = self.fault.name.lower().replace(" ", "-")
        parts = [self.system.system, self.system.name, fault, self.backend]
        return "/".join(part for part in parts if part)

    def seed(self, base: int, number: int) -> int:
        """Return the seed of a trial, which no other trial of the lab has."""
        # The seed of a cell's trial stays the same when other cells come or go.
        source = random.Random(f"{base}/{self.name}/{number}")  # noqa: S311
        return source.getrandbits(SEED_BITS)

    def blank(self, lab: str, base: int, host: Host, versions: dict[str, str]) -> Cell:
        """Return what a record says of this cell before any trial.

        Args:
            lab: The lab's name.
            base: What the seeds of its trials derive from.
            host: Where it runs.
            versions: Of the servers and clients.
        """
        return Cell(
            system=self.system.system,
            configuration=self.system.name,
            settings=self.system.settings,
            guarantee=self.system.guarantee,
            fault=self.fault.name,
            backend=self.backend,
            file_system=self.medium.file_system,
            rate=self.plan.rate,
            command=f"nox -s labs -- {lab} --cell {self.name}",
            versions=versions,
            host=host,
            date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
            seed=base,
        )

    def is_done(self, recorded: Cell, blank: Cell) -> bool:
        """Tell whether a recorded cell is what would come of a blank one."""
        without_results = msgspec.structs.replace(
            recorded, date=blank.date, trials=[], void=[]
        )
        enough = len(recorded.trials) + len(recorded.void) >= self.trials
        return enough and without_results == blank


@dataclass(frozen=True)
class PlannedCell(AnyCell):
    """A cell in which a fault strikes nodes under load; see `trial`."""

    system: System
    fault: Fault

    def run(
        self, seed: int, place: Workspace, history_file: Path | None
    ) -> tuple[Trial, dict[str, str]]:
        """See `AnyCell`."""
        return trial.run(
            self.system, self.fault, self.medium, self.plan, seed, place, history_file
        )


@dataclass(frozen=True)
class Expectation:
    """What every trial of some cells must show.

    Attributes:
        cells: A pattern for their names.
        sentence: What they show.
        holds: Tells whether a trial shows it.
        control: Whether the lab itself is wrong if it doesn't hold.
    """

    cells: str
    sentence: str
    holds: Callable[[Trial], bool]
    control: bool = False


def broken(
    expectations: Iterable[Expectation], cells: dict[str, Cell], *, control: bool
) -> list[str]:
    """Return which expectations don't hold, and in which cells.

    Args:
        expectations: What must hold.
        cells: What was recorded, by name.
        control: Whether to look at the controls, or at the other ones.
    """
    return [
        f"{name}: not so that {each.sentence} (seed {tried.seed})"
        for each in expectations
        if each.control is control
        for name, cell in cells.items()
        if fnmatchcase(name, each.cells)
        for tried in cell.trials
        if not each.holds(tried)
    ]


@dataclass(frozen=True)
class LabPlan:
    """All that a lab is to run.

    Attributes:
        name: The lab's name, which is also its record's.
        question: What it is to answer.
        cells: What it runs.
        expectations: What its cells must show.
    """

    name: str
    question: str
    cells: Sequence[AnyCell]
    expectations: Sequence[Expectation]


class AnyLab(Protocol):
    """What any lab is to run, with trials or without; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str:
        """The lab's name, which is also its record's."""

    @property
    def question(self) -> str:
        """What it is to answer."""

    @property
    def cells(self) -> Sequence["Listed"]:
        """What it runs."""


class Listed(Protocol):
    """What any lab runs, as `--list` shows it."""

    @property
    def name(self) -> str:
        """What a record calls it."""

    def missing(self, place: Workspace) -> str | None:
        """Say why it can't be run here; None if it can."""


# Runs what is planned and isn't recorded yet, and returns what is wrong; see `run_lab`.
Run = Callable[..., list[str]]
