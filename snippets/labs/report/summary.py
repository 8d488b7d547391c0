"""What the trials of some cells come to together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from statistics import median

import msgspec

from snippets.labs.faults.network import Partition
from snippets.labs.record import Cell, Lab, Trial

MS_PER_S = 1000


class Verdict(StrEnum):
    """What a cell says, at one look."""

    NOTHING = "nothing"
    SOME = "some"
    ALL = "all"
    VOID = "void"
    NOT_RUN = "not-run"
    NOT_RECORDED = "not-recorded"
    NOT_TRIED = "not-tried"


@dataclass(frozen=True)
class Pool:
    """Trials of one cell, or of several that are alike.

    Attributes:
        trials: All trials that say something.
    """

    trials: Sequence[Trial]

    def total(self, of: Callable[[Trial], int]) -> int:
        """Return a count over all trials."""
        return sum(map(of, self.trials))

    @property
    def acknowledged(self) -> int:
        """How many values were acknowledged."""
        return self.total(lambda each: each.acknowledged)

    @property
    def lost(self) -> int:
        """How many acknowledged values are lost."""
        return self.total(lambda each: each.lost)

    @property
    def ages_ms(self) -> list[float]:
        """The age of the oldest lost value in each trial, ascending."""
        return sorted(each.oldest_lost_ms for each in self.trials)

    @property
    def unavailable_s(self) -> float:
        """The median of the times without an acknowledgement."""
        return median(each.unavailable_s for each in self.trials)

    @property
    def groups(self) -> list[str]:
        """What became of the group, each outcome once."""
        return sorted({each.group for each in self.trials})

    @property
    def refused(self) -> list[str]:
        """What servers said that would not start."""
        return [each.refused_start for each in self.trials if each.refused_start]

    @property
    def verdict(self) -> Verdict:
        """What is lost."""
        if not self.trials:
            return Verdict.VOID
        if self.lost == 0:
            return Verdict.NOTHING
        if all(each.lost >= each.acknowledged for each in self.trials):
            return Verdict.ALL
        return Verdict.SOME


def verdict(cell: Cell) -> Verdict:
    """Return what a recorded cell says."""
    return Verdict.NOT_RUN if cell.not_run else pool([cell]).verdict


def matching(lab: Lab, patterns: Iterable[str]) -> dict[str, Cell]:
    """Return the cells with trials whose names match one of the patterns."""
    wanted = list(patterns)
    return {
        name: cell
        for name, cell in lab.cells.items()
        if cell.trials and any(fnmatchcase(name, each) for each in wanted)
    }


def pool(cells: Iterable[Cell]) -> Pool:
    """Return the trials of some cells, with all as acknowledged that was at stake."""
    return Pool([trial for cell in cells for trial in _at_stake(cell)])


def _at_stake(cell: Cell) -> list[Trial]:
    if cell.fault != Partition.name:
        return cell.trials
    # Who lives on the wrong side acknowledges in the partition what it will lose.
    return [
        msgspec.structs.replace(each, acknowledged=each.acknowledged + each.meanwhile)
        for each in cell.trials
    ]
