"""Ask what isn't recorded yet, and record each column when it is whole."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from snippets.labs import host, record
from snippets.labs.versions.matrix import Column, Matrix, is_done
from snippets.labs.versions.plan import (
    NAME,
    QUESTION,
    Planned,
    VersionsPlan,
    check,
    problems,
)
from snippets.servers.errors import ServersError


def ask(planned: Planned, blank: Column, tell: Callable[[str], None]) -> Column:
    """Put all probes to one server or library.

    Args:
        planned: What to ask.
        blank: What is recorded of it in any case.
        tell: Shows a line to whoever waits.
    """
    try:
        with planned.have() as had:
            check(had, planned)
            answers = {}
            for probe in planned.probes:
                answers[probe.name] = answer = had.ask(probe)
                said = f": {answer.said}" if answer.said else ""
                tell(f"{planned.name}/{probe.name}: {answer.verdict}{said}")
            return msgspec.structs.replace(blank, way=had.way, answers=answers)
    except ServersError as error:
        reason = str(error).splitlines()[0]
        tell(f"{planned.name}: not run here: {reason}")
        return msgspec.structs.replace(blank, not_run=reason)


def run_versions(plan: VersionsPlan, path: Path | None, **options: Any) -> list[str]:
    """Ask all that isn't recorded yet, and return what is wrong; see `run`.

    Args:
        plan: What to ask.
        path: Where it is recorded.
        options: Those of any lab. Nothing here has a seed, a disk or a history.
    """
    found = run(plan.cells, path, anew=options["anew"], console=options["console"])
    return problems(plan.cells, found.columns)


def run(
    columns: Sequence[Planned],
    path: Path | None,
    *,
    anew: Callable[[str], bool],
    console: Console,
) -> Matrix:
    """Ask all that isn't recorded yet.

    Args:
        columns: What to ask.
        path: Where it is recorded after each column; nowhere if None.
        anew: Tells by a column's name whether to ask although it is recorded.
        console: Where progress is shown.

    Returns:
        What is recorded now.

    Raises:
        RecordError: What is there is no record.
    """
    before = record.load_as(path, Matrix) if path else None
    done = dict(before.columns) if before else {}
    machine = host.describe()

    def tell(line: str) -> None:
        console.print(line)

    for each in columns:
        blank = each.blank(machine)
        recorded = done.get(each.name)
        if not anew(each.name) and is_done(recorded, blank):
            continue
        column = ask(each, blank, tell)
        # What another machine was told stands until this one is told something.
        if not (column.not_run and recorded and recorded.answers):
            done[each.name] = column
        if path:
            record.write(path, _matrix(done))
    return _matrix(done)


def _matrix(columns: dict[str, Column]) -> Matrix:
    return Matrix(
        question=QUESTION,
        command=f"nox -s labs -- {NAME}",
        columns=dict(sorted(columns.items())),
    )
