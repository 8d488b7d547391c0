"""A trial of a scenario: what happens is told by the scenario, and compared here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from snippets.labs import checkers, history
from snippets.labs.faults.interface import Medium
from snippets.labs.history import GROUP, Journal
from snippets.labs.load import Load, LoadError, Writer
from snippets.labs.plan import AnyCell
from snippets.labs.record import Trial
from snippets.labs.systems.interface import Configured
from snippets.labs.trial import assess
from snippets.labs.workspace import Workspace

PATIENCE_S = 60.0
S = 1_000_000_000


@dataclass(frozen=True)
class Mishap:
    """What befalls a client; see `plan.Injectable`."""

    name: str

    def can_inject(self, workspace: Workspace) -> str | None:  # noqa: ARG002
        """Say that it can: it takes nothing but processes of our own."""
        return None


@dataclass(frozen=True)
class Stage:
    """Where one trial of a scenario takes place.

    Attributes:
        medium: On what disks the servers' data are.
        folder: Where all files of the trial are.
        history: The file of the history.
        journal: Where all that happens is noted; a line of it is in the file at once.
        seed: What the trial's random choices derive from.
        rate: How many values are due in a second.
    """

    medium: Medium
    folder: Path
    history: Path
    journal: Journal
    seed: int
    rate: float

    def write(self, writer: Writer, count: int, *, first: int = 1) -> None:
        """Write until so many values are acknowledged.

        Args:
            writer: Writes; it is closed at the end.
            count: How many values.
            first: The first of them. Some more are written than are asked for.

        Raises:
            LoadError: They are not acknowledged within a minute.
        """
        with Load(writer, self.journal, self.rate, first=first) as load:
            if not load.until_acknowledged(count, PATIENCE_S):
                raise LoadError(f"{count} values take more than {PATIENCE_S:g} s")


@dataclass(frozen=True)
class Ending:
    """What is left after a scenario.

    Attributes:
        left: The values in the log, in its order.
        group: What became of the group: `kept`, `set back` or `gone`.
        versions: The versions of all that took part, by name.
    """

    left: Sequence[int]
    group: str
    versions: dict[str, str]


class _HasBase(Protocol):
    @property
    def base(self) -> Configured:
        """The servers."""


class OnServer:
    """What a scenario says of the servers that it runs on, its `base`."""

    @property
    def system(self: _HasBase) -> str:
        """See `Scenario`."""
        return self.base.system

    @property
    def guarantee(self: _HasBase) -> str:
        """See `Scenario`."""
        return self.base.guarantee


class Scenario(Configured, Protocol):
    """Clients of a system in one configuration, and what befalls them."""

    def play(self, stage: Stage) -> Ending:
        """Let it happen, with one fault noted in the journal."""


@dataclass(frozen=True)
class ScenarioCell(AnyCell):
    """A cell in which something befalls clients."""

    system: Scenario

    def run(
        self, seed: int, place: Workspace, history_file: Path | None
    ) -> tuple[Trial, dict[str, str]]:
        """See `AnyCell`."""
        with place.temporary("trial") as folder:
            path = history_file or folder / "history.jsonl"
            with Journal(path) as journal:
                stage = Stage(self.medium, folder, path, journal, seed, self.plan.rate)
                ending = self.system.play(stage)
            # Several processes have written it, each at its own pace.
            happened = sorted(history.read(path), key=lambda each: each.monotonic_ns)
        begun = checkers.fault_at(happened) or happened[0].monotonic_ns
        found = assess(
            happened,
            ending.left,
            seed=seed,
            load_s=round((begun - happened[0].monotonic_ns) / S, 3),
            group=ending.group,
            refused="",
        )
        found = msgspec.structs.replace(
            found,
            # To get the second copy of a value is not to get an entry again.
            group=ending.group,
            unprocessed=len(checkers.unprocessed(happened, key=GROUP)),
            repeated=sum(checkers.repeated(happened, key=GROUP).values()),
        )
        return found, ending.versions
