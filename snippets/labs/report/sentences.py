"""Sentences with numbers, each of them from the trials of some cells.

A page includes them by name, between what an author writes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from snippets.labs.record import Cell, Lab
from snippets.labs.report.summary import MS_PER_S, Pool, Verdict, matching, pool
from snippets.labs.report.words import age, count, counted, span, spread


@dataclass(frozen=True)
class Sentence:
    """What is said of some cells.

    Attributes:
        cells: Patterns for their names.
        say: Says it.
    """

    cells: Sequence[str]
    say: Callable[[Mapping[str, Cell]], str]

    def text(self, lab: Lab) -> str:
        """Return the sentence, or that nothing is recorded for it."""
        if cells := matching(lab, self.cells):
            return self.say(cells)
        wanted = " ".join(f"--cell '{each}'" for each in self.cells)
        return f"This is not recorded yet: `nox -s labs -- loss {wanted}` does it."


def _lost(found: Pool, things: str) -> str:
    """Return `0 of 4,500 acknowledged records were lost`, or the like."""
    share = (
        f"all {count(found.acknowledged)}"
        if found.verdict is Verdict.ALL
        else f"{count(found.lost)} of {count(found.at_stake)}"
    )
    return f"{share} acknowledged {things} were lost"


def loses(things: str) -> Callable[[Mapping[str, Cell]], str]:
    """Say how many of the acknowledged values are lost in all trials.

    Args:
        things: What they are: `entries` or `records`.
    """

    def say(cells: Mapping[str, Cell]) -> str:
        found = pool(cells.values())
        return f"In {counted(len(found.trials), 'trial')}, {_lost(found, things)}."

    return say


def window(cells: Mapping[str, Cell]) -> str:
    """Say how many values a trial lost, and how old the oldest of them was."""
    found = pool(cells.values())
    ages = found.ages_ms
    return (
        f"In {counted(len(found.trials), 'trial')}, "
        f"{span([each.lost for each in found.trials])} entries were lost, at "
        f"{next(iter(cells.values())).rate:g} a second. The oldest of them had been "
        f"acknowledged {age(ages[0])} to {age(ages[-1])} before the cut; the median is "
        f"{age(median(ages))}."
    )


def again(cells: Mapping[str, Cell]) -> str:
    """Say how many values a group got again."""
    found = pool(cells.values())
    repeated = [each.redelivered for each in found.trials]
    return (
        f"In {counted(len(found.trials), 'trial')} the group got "
        f"{span(repeated)} records again that it had committed; "
        f"{_lost(found, 'records')}."
    )


def one_by_one(cells: Mapping[str, Cell]) -> str:
    """Say how few values are acknowledged when each waits for the disk."""
    found = pool(cells.values())
    seconds = [each.load_s for each in found.trials]
    rate = next(iter(cells.values())).rate
    return (
        f"In {min(seconds):.1f} to {max(seconds):.1f} seconds, a writer that wanted to "
        f"append {rate:g} entries a second had "
        f"{span([each.acknowledged for each in found.trials])} acknowledged; "
        f"{_lost(found, 'entries')}."
    )


def reordered(cells: Mapping[str, Cell]) -> str:
    """Say how many values later ones have overtaken, and how many are lost."""
    found = pool(cells.values())
    overtaken = [each.reordered for each in found.trials]
    return (
        f"In each of {counted(len(found.trials), 'trial')}, {span(overtaken)} records "
        f"stood behind later ones; together, {_lost(found, 'records')}."
    )


def refusals(cells: Mapping[str, Cell]) -> str:
    """Say how often a server would not start on what was left."""
    found = pool(cells.values())
    if not found.refused:
        return (
            f"In none of {counted(len(found.trials), 'trial')} did Redis refuse to "
            "start on the file that a power cut had left."
        )
    return (
        f"In {count(len(found.refused))} of {counted(len(found.trials), 'trial')} Redis "
        f"refused to start on the file that a power cut had left: "
        f"`{found.refused[0]}`."
    )


def interruption(things: str) -> Callable[[Mapping[str, Cell]], str]:
    """Say for how long nothing is acknowledged, and how much of it is lost.

    Args:
        things: What is acknowledged: `entries` or `records`.
    """

    def say(cells: Mapping[str, Cell]) -> str:
        found = pool(cells.values())
        silent = spread([each.unavailable_s for each in found.trials], " s", 1)
        return (
            f"In {counted(len(found.trials), 'trial')} nothing was acknowledged for a "
            f"median of {silent}; {_lost(found, things)}."
        )

    return say


def wrong_side(things: str) -> Callable[[Mapping[str, Cell]], str]:
    """Say how much the wrong side acknowledges after a fault, and how much is lost.

    Args:
        things: What is acknowledged: `entries` or `records`.
    """

    def say(cells: Mapping[str, Cell]) -> str:
        found = pool(cells.values())
        return (
            f"In {counted(len(found.trials), 'trial')}, {count(found.meanwhile)} "
            f"{things} were acknowledged between the fault and the end of its repair; "
            f"{count(found.lost)} were lost."
        )

    return say


def cut_off(cells: Mapping[str, Cell]) -> str:
    """Say of how long a time the last entries are missing."""
    found = pool(cells.values())
    ages = found.ages_ms
    seconds = [each.load_s for each in found.trials]
    return (
        f"In {counted(len(found.trials), 'trial')} with a load of {min(seconds):.0f} to "
        f"{max(seconds):.0f} s, {_lost(found, 'entries')}, those of the last "
        f"{ages[0] / MS_PER_S:.0f} to {ages[-1] / MS_PER_S:.0f} s."
    )


def render(lab: Lab, sentences: Mapping[str, Sentence]) -> str:
    """Return all sentences as sections that a page can include by name."""
    return "\n".join(
        f"--8<-- [start:{name}]\n{each.text(lab)}\n--8<-- [end:{name}]\n"
        for name, each in sentences.items()
    )
