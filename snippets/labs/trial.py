"""One trial: load a system, let a fault strike, bring the system back, and compare."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from snippets.labs import checkers, history
from snippets.labs.checkers import Step
from snippets.labs.faults.interface import Fault, Medium, Passing
from snippets.labs.faults.power import settle
from snippets.labs.history import GROUP, Action, Journal, Operation, Phase
from snippets.labs.load import Consumption, Load, LoadError, Position, drain
from snippets.labs.record import TimeLine, Trial
from snippets.labs.systems.interface import System
from snippets.labs.workspace import Workspace

BEGIN_S = 60.0
BACK_S = 60.0
DRAIN_S = 60.0


@dataclass(frozen=True)
class Plan:
    """How a trial goes.

    Attributes:
        rate: How many values are due in a second.
        load_s: Between what bounds lies the time of load before the fault. What a system
            leaves to the kernel is written out after half a minute of its own accord, so
            that a longer load loses less than all.
        after: How many values that are tried after the repair must be acknowledged.
        rest_s: For how long the load goes on then.
        time_line: Whether to record how writes fared around the fault.
    """

    rate: float
    load_s: tuple[float, float]
    after: int = 5
    rest_s: float = 0.0
    time_line: bool = False


def run(
    system: System,
    fault: Fault,
    medium: Medium,
    plan: Plan,
    seed: int,
    workspace: Workspace,
    history_file: Path | None = None,
) -> tuple[Trial, dict[str, str]]:
    """Run one trial.

    Args:
        system: What is tried.
        fault: What happens to it.
        medium: On what disks its data are.
        plan: How the trial goes.
        seed: What its random choices derive from.
        workspace: Where its files are.
        history_file: Where its history is kept; nowhere if None.

    Returns:
        What came out, and the versions of all that took part.

    Raises:
        Exception: The harness failed; the trial says nothing.
    """
    with workspace.temporary("trial") as folder:
        path = history_file or folder / "history.jsonl"
        return _run(system, fault, medium, plan, seed, folder, path)


def _run(
    system: System,
    fault: Fault,
    medium: Medium,
    plan: Plan,
    seed: int,
    folder: Path,
    path: Path,
) -> tuple[Trial, dict[str, str]]:
    load_s = round(random.Random(seed).uniform(*plan.load_s), 3)  # noqa: S311
    with system.run(medium, folder) as running, Journal(path) as journal:
        settle(running.everything)
        consumer = running.consumer()
        reader = Consumption(consumer, journal)
        with Load(running.writer(), journal, plan.rate) as load:
            with reader:
                # A client takes its time to connect; the trial has not begun until then.
                if not load.until_acknowledged(1, BEGIN_S):
                    raise LoadError(f"nothing is acknowledged within {BEGIN_S:g} s")
                load.go_on(load_s)
                targets = running.targets
                journal.note(fault.name, Action.FAULT, 1, Phase.INVOKE)
                fault.strike(targets)
                journal.note(fault.name, Action.FAULT, 1, Phase.OK)
                # A reader that lived on would tell the server again where the group is.
                reader.stop()
                journal.note("operator", Action.REPAIR, 1, Phase.INVOKE)
                if isinstance(fault, Passing):
                    fault.lift(targets)
                refused = running.bring_back()
                journal.note("operator", Action.REPAIR, 1, Phase.OK)
            load.until_served(plan.after, BACK_S)
            load.go_on(plan.rest_s)
        position = running.group_position()
        left = running.values()
        drain(running.consumer(), journal, DRAIN_S)
        versions = running.versions
    happened = history.read(path)
    found = assess(
        happened,
        left,
        seed=seed,
        load_s=load_s,
        group=group_state(consumer.position, position),
        refused=refused,
    )
    if plan.time_line:
        found = msgspec.structs.replace(found, time_line=time_line(happened))
    return found, versions


def time_line(happened: Sequence[Operation]) -> TimeLine:
    """Return how writes fared around the fault, as a record has it."""
    steps = checkers.until_settled(checkers.time_line(happened))

    def counts(of: Callable[[Step], int]) -> str:
        return " ".join(str(of(step)) for step in steps)

    return TimeLine(
        step_ms=checkers.STEP_MS,
        before=checkers.STEPS_BEFORE,
        attempted=counts(lambda step: step.attempted),
        unacknowledged=counts(lambda step: step.unacknowledged),
        acknowledged=counts(lambda step: step.acknowledged),
    )


def group_state(before: Position | None, now: Position | None) -> str:
    """Return what became of a group: `kept`, `set back` or `gone`.

    Args:
        before: How far it was when the fault struck, as far as its reader knew.
        now: How far it is by what the server says.
    """
    if now is None:
        return "gone"
    return "set back" if before is not None and now < before else "kept"


def assess(
    happened: Sequence[Operation],
    left: Sequence[int],
    *,
    seed: int,
    load_s: float,
    group: str,
    refused: str,
) -> Trial:
    """Return what a history and what is left come to; see `record.Trial`."""
    times = checkers.acknowledged(happened).values()
    over = checkers.fault_over_at(happened) or 0
    lost = checkers.lost(happened, left)
    redelivered = checkers.redelivered(happened, key=GROUP)
    return Trial(
        seed=seed,
        load_s=load_s,
        acknowledged=sum(time < over for time in times),
        lost=len(lost),
        oldest_lost_ms=round(checkers.oldest_lost_ms(happened, lost), 1),
        unacknowledged=len(checkers.unacknowledged(happened, left)),
        duplicated=sum(checkers.duplicated(left).values()),
        reordered=len(checkers.reordered(happened, left)),
        phantom=len(checkers.phantom(happened, left)),
        unavailable_s=round(checkers.unavailable_s(happened), 3),
        group="set back" if group == "kept" and redelivered else group,
        redelivered=sum(redelivered.values()),
        forgotten=len(checkers.forgotten(happened, left, key=GROUP)),
        never_delivered=len(checkers.never_delivered(happened, left, key=GROUP)),
        refused=len(checkers.refused(happened)),
        refused_start=refused,
        meanwhile=len(checkers.acknowledged_meanwhile(happened)),
    )
