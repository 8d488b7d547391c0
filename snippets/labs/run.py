"""Run the cells of a lab, show how far it is, and record each cell when it is whole."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from snippets.labs import host, record
from snippets.labs.plan import AnyCell, LabPlan, broken
from snippets.labs.record import Cell, Lab, Trial, Void
from snippets.labs.workspace import Workspace
from snippets.servers.run import current_run
from snippets.servers.versions import KAFKA, REDIS

# The estimate of the time left looks back so far.
LOOKS_BACK_S = 600.0

Tell = Callable[[str], None]


class Runner:
    """Runs cells in one workspace."""

    def __init__(self, place: Workspace, histories: Path | None, tell: Tell) -> None:
        """Take note of what to do.

        Args:
            place: Where the files of trials are.
            histories: The folder where the history of each trial is kept, if any.
            tell: Shows a line to whoever waits.
        """
        self._place = place
        self._histories = histories
        self._tell = tell

    def run(self, planned: AnyCell, blank: Cell, tried: Callable[[], None]) -> Cell:
        """Run all trials of a cell.

        Args:
            planned: The cell.
            blank: What is recorded of it in any case.
            tried: Called after each trial.
        """
        if reason := planned.missing(self._place):
            return msgspec.structs.replace(blank, not_run=reason)
        trials: list[Trial] = []
        void: list[Void] = []
        versions = blank.versions
        for number in range(planned.trials):
            seed = planned.seed(blank.seed, number)
            try:
                file = self._history_file(planned, seed)
                found, versions = planned.run(seed, self._place, file)
                trials.append(found)
            except Exception as error:  # noqa: BLE001 - whatever it is, the trial is void
                self._tell(f"void: {planned.name}, seed {seed}: {error!r}")
                void.append(Void(seed, self._in_short(error)))
            tried()
        return msgspec.structs.replace(blank, versions=versions, trials=trials, void=void)

    def _in_short(self, error: Exception) -> str:
        """Return an error's kind and the first line of what it says."""
        said = next(iter(str(error).splitlines()), "")
        # A record holds no folders of the machine.
        for folder in (self._place.folder, current_run().folder):
            said = said.replace(str(folder), folder.parent.name)
        return f"{type(error).__name__}: {said}".rstrip(": ")

    def _history_file(self, planned: AnyCell, seed: int) -> Path | None:
        if self._histories is None:
            return None
        self._histories.mkdir(parents=True, exist_ok=True)
        file = self._histories / f"{planned.name.replace('/', '-')}-{seed}.jsonl"
        # A journal goes on at the end of its file, and this is a new trial.
        file.unlink(missing_ok=True)
        return file


def run_lab(
    lab: LabPlan,
    path: Path | None,
    *,
    seed: int,
    anew: Callable[[str], bool],
    place: Workspace,
    histories: Path | None = None,
    console: Console,
) -> Lab:
    """Run the cells that aren't recorded yet.

    Args:
        lab: What to run.
        path: Where it is recorded after each cell; nowhere if None.
        seed: What the seeds of all trials derive from.
        anew: Tells by a cell's name whether to run it although it is recorded.
        place: Where the files of trials are.
        histories: The folder where the history of each trial is kept, if any.
        console: Where progress is shown.

    Returns:
        What is recorded now.

    Raises:
        RecordError: What is there is no record.
    """
    before = record.load(path) if path else None
    done = dict(before.cells) if before else {}
    machine, versions = host.describe(), _versions()
    left = []
    for each in lab.cells:
        blank = each.blank(lab.name, seed, machine, versions[each.system.system])
        recorded = done.get(each.name)
        if recorded is None or anew(each.name) or not each.is_done(recorded, blank):
            left.append((each, blank))
    with _progress(console) as shown:
        runner = Runner(place, histories, shown.console.print)
        guess = sum(each.trials * each.trial_s for each, _ in left)
        bar = shown.add_task(lab.name, total=guess)
        for number, (each, blank) in enumerate(left, start=1):
            shown.update(bar, description=f"{number}/{len(left)} {each.name}")
            cell = runner.run(each, blank, partial(shown.advance, bar, each.trial_s))
            if cell.not_run:
                shown.advance(bar, each.trials * each.trial_s)
            recorded = done.get(each.name)
            # What another machine has measured stands until this one can measure it.
            if not (cell.not_run and recorded and recorded.trials):
                done[each.name] = cell
            shown.console.print(summary(each.name, cell))
            if path:
                record.save(path, _lab(lab, done))
    return _lab(lab, done)


def _lab(lab: LabPlan, cells: dict[str, Cell]) -> Lab:
    return Lab(
        question=lab.question,
        command=f"nox -s labs -- {lab.name}",
        controls=_controls(lab, cells),
        cells=cells,
    )


def _versions() -> dict[str, dict[str, str]]:
    """Return the pinned versions as a cell of each system has them."""
    return {
        "redis": {"Redis": REDIS, "redis-py": version("redis")},
        "kafka": {"Kafka": KAFKA, "kafka-python": version("kafka-python")},
    }


def _controls(lab: LabPlan, cells: dict[str, Cell]) -> dict[str, str]:
    """Return by back end whether its controls hold."""
    controls = {}
    for backend in sorted({cell.backend for cell in cells.values() if cell.trials}):
        same = {name: cell for name, cell in cells.items() if cell.backend == backend}
        found = broken(lab.expectations, same, control=True)
        controls[backend or "none"] = "; ".join(found) or "held"
    return controls


def run_and_check(lab: LabPlan, path: Path | None, **options: Any) -> list[str]:
    """Run the cells that aren't recorded yet, and return what is wrong; see `run_lab`."""
    return problems(lab, run_lab(lab, path, **options))


def problems(lab: LabPlan, found: Lab) -> list[str]:
    """Return all that makes a run fail.

    Args:
        lab: What was to run.
        found: What is recorded.
    """
    planned = {each.name for each in lab.cells}
    cells = {name: cell for name, cell in found.cells.items() if name in planned}
    voided = [
        f"{name}: every trial is void, such as: {cell.void[0].reason}"
        for name, cell in cells.items()
        if cell.void and not cell.trials
    ]
    if cells and all(cell.not_run for cell in cells.values()):
        return ["no cell can be run here"]
    controls = broken(lab.expectations, cells, control=True)
    others = broken(lab.expectations, cells, control=False)
    return [*(f"a control fails: {each}" for each in controls), *voided, *others]


def summary(name: str, cell: Cell) -> str:
    """Return a cell's outcome in one line."""
    if cell.not_run:
        return f"{name}: not run here: {cell.not_run}"
    if not cell.trials:
        return f"{name}: {len(cell.void)} void"

    def each(values: list[str]) -> str:
        distinct = dict.fromkeys(values)
        return next(iter(distinct)) if len(distinct) == 1 else ", ".join(values)

    parts = [
        f"acknowledged {each([str(t.acknowledged) for t in cell.trials])}",
        f"lost {each([str(t.lost) for t in cell.trials])}",
        f"oldest {each([f'{t.oldest_lost_ms:.0f}' for t in cell.trials])} ms",
        f"unavailable {each([f'{t.unavailable_s:.1f}' for t in cell.trials])} s",
        f"group {each([t.group for t in cell.trials])}",
        f"redelivered {each([str(t.redelivered) for t in cell.trials])}",
    ]
    if any(t.meanwhile for t in cell.trials):
        parts.append(f"meanwhile {each([str(t.meanwhile) for t in cell.trials])}")
    if any(t.unprocessed or t.repeated for t in cell.trials):
        parts += [
            f"never processed {each([str(t.unprocessed) for t in cell.trials])}",
            f"processed again {each([str(t.repeated) for t in cell.trials])}",
        ]
    doubled = sum(t.duplicated for t in cell.trials)
    overtaken = sum(t.reordered for t in cell.trials)
    refused = sum(bool(t.refused_start) for t in cell.trials)
    counts = {
        "writes refused": sum(t.refused for t in cell.trials),
        "duplicated": doubled,
        "reordered": overtaken,
        "refused to start": refused,
        "void": len(cell.void),
    }
    parts += [f"{what} {count}" for what, count in counts.items() if count]
    return f"{name}: {'; '.join(parts)}"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        speed_estimate_period=LOOKS_BACK_S,
    )
