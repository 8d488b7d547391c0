"""Run one lab or all: `python -m snippets.labs loss`."""

import argparse
import logging
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from snippets.labs import delivery, loss
from snippets.labs.memory import lab as memory
from snippets.labs.memory.run import run_memory
from snippets.labs.plan import SEED_BITS, AnyLab, Run
from snippets.labs.record import DATA, RecordError
from snippets.labs.run import run_and_check
from snippets.labs.versions import plan as versions
from snippets.labs.versions.run import run_versions
from snippets.labs.workspace import Workspace, workspace
from snippets.servers import ServersError
from snippets.servers.local.kafka import archive
from snippets.servers.local.redis_programs import programs
from snippets.servers.versions import redis_release

# How each lab is planned, whole and quick, and what runs it and tells what is wrong.
LABS: dict[str, tuple[Callable[[], AnyLab], Callable[[Workspace], AnyLab], Run]] = {
    "loss": (loss.full, loss.quick, run_and_check),
    "delivery": (delivery.full, delivery.quick, run_and_check),
    "memory": (memory.full, memory.quick, run_memory),
    versions.NAME: (versions.full, versions.quick, run_versions),
}
# A lab that is repeated makes the same choices, unless it is told otherwise.
SEED = 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s labs --", description=__doc__)
    parser.add_argument("lab", nargs="?", choices=LABS, help="which; all if left out")
    parser.add_argument(
        "--quick", action="store_true", help="controls and headlines only; record nothing"
    )
    parser.add_argument(
        "--cell",
        action="append",
        metavar="PATTERN",
        help="run these cells, also if they are recorded, such as 'redis/*/sigkill'",
    )
    parser.add_argument(
        "--list", action="store_true", help="name the cells, and what can't run here"
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help="what random choices derive from"
    )
    parser.add_argument(
        "--random-seed", action="store_true", help="choose the seed, and print it"
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="where to record; docs/data/<lab>.json",
    )
    parser.add_argument(
        "--histories", type=Path, metavar="FOLDER", help="keep the history of each trial"
    )
    chosen = parser.parse_args()
    if chosen.record and not chosen.lab:
        parser.error("--record is for one lab: name it")
    return chosen


def _matches(patterns: list[str] | None, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns or [])


def _list(lab: AnyLab, place: Workspace) -> None:
    for each in lab.cells:
        reason = each.missing(place)
        print(f"{each.name}: not run here: {reason}" if reason else each.name)


def _chosen_labs(
    chosen: argparse.Namespace, place: Workspace
) -> list[tuple[AnyLab, Run]]:
    """Return the labs with the cells that are to run, without those that have none."""
    labs = []
    for full, quick, run in [LABS[chosen.lab]] if chosen.lab else LABS.values():
        lab = quick(place) if chosen.quick else full()
        if chosen.cell:
            cells = [each for each in lab.cells if _matches(chosen.cell, each.name)]
            lab = replace(lab, cells=cells)
        if lab.cells:
            labs.append((lab, run))
    if not labs:
        raise ServersError(f"no cell is called {' or '.join(chosen.cell)}: try --list")
    return labs


def _run(
    lab: AnyLab, run: Run, chosen: argparse.Namespace, seed: int, place: Workspace
) -> bool:
    """Run a lab, and tell whether all is as it must be."""
    path = chosen.record or (None if chosen.quick else DATA / f"{lab.name}.json")
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    console.print(f"{lab.name}, seed {seed}: {lab.question}")
    wrong = run(
        lab,
        path,
        seed=seed,
        anew=lambda name: _matches(chosen.cell, name),
        place=place,
        histories=chosen.histories,
        console=console,
    )
    for problem in wrong:
        console.print(problem)
    if path:
        console.print(f"recorded in {path}")
    return not wrong


def _run_labs(chosen: argparse.Namespace, place: Workspace) -> int:
    labs = _chosen_labs(chosen, place)
    if chosen.list:
        for lab, _ in labs:
            _list(lab, place)
        return 0
    # What takes a minute at the first time is no part of a trial.
    programs(redis_release())
    archive()
    seed = secrets.randbits(SEED_BITS) if chosen.random_seed else chosen.seed
    right = [_run(lab, run, chosen, seed, place) for lab, run in labs]
    return 0 if all(right) else 1


def main() -> int:
    """Read the command line, and run; return the exit status."""
    chosen = _arguments()
    with workspace() as place:
        return _run_labs(chosen, place)


if __name__ == "__main__":
    # What a shell runs in the background ignores Ctrl-C until it says otherwise.
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, signal.default_int_handler)
    # A client that meets a dead server says so at length; the history says it better.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        sys.exit(main())
    except (ServersError, RecordError) as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: what an earlier run has left can't be removed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
