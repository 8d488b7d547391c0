"""Measure the quantities, fit their constants, and record each when it is whole."""

import datetime as dt
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from rich.console import Console

from snippets.labs import host
from snippets.labs.memory import record
from snippets.labs.memory.fit import fit
from snippets.labs.memory.lab import MemoryPlan, PlannedQuantity
from snippets.labs.memory.record import Constant, Memory, Point, Quantity
from snippets.labs.memory.shapes import Shape
from snippets.labs.workspace import Workspace
from snippets.servers.versions import KAFKA, REDIS


def _versions(system: str) -> dict[str, str]:
    if system == "redis":
        return {"Redis": REDIS, "redis-py": version("redis")}
    clients = ("kafka-python", "confluent-kafka")
    return {"Kafka": KAFKA} | {name: version(name) for name in clients}


def measure(
    planned: PlannedQuantity,
    server: object,
    seed: int,
    known: dict[str, Constant] | None,
) -> Quantity:
    """Measure a quantity in all its shapes.

    Args:
        planned: The quantity.
        server: On what to measure it.
        seed: What the held-out shapes derive from.
        known: Constants to hold against; fitted to what is measured if None.
    """
    seen = [(shape, planned.measure(server, shape)) for shape in planned.shapes]
    unseen = [(each, planned.measure(server, each)) for each in planned.held_out(seed)]
    constants = known
    if constants is None:
        constants = fit(seen) if planned.draw else {}
    values = {name: each.bytes for name, each in constants.items()}

    def points(measured: Sequence[tuple[Shape, float]], *, held_out: bool) -> list[Point]:
        return [
            Point(
                shape=shape,  # type: ignore[arg-type]
                measured=round(found, 2),
                predicted=round(shape.predict(values), 2) if values else None,
                held_out=held_out,
            )
            for shape, found in measured
        ]

    return Quantity(
        system=planned.system,
        what=planned.what,
        command=f"nox -s labs -- memory --cell {planned.name}",
        versions=_versions(planned.system),
        host=host.describe(),
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        seed=seed,
        constants=constants,
        points=[*points(seen, held_out=False), *points(unseen, held_out=True)],
    )


def _is_done(planned: PlannedQuantity, recorded: Quantity, seed: int) -> bool:
    """Tell whether a recorded quantity is of these shapes, seed and versions."""
    shapes = [*planned.shapes, *planned.held_out(seed)]
    return (
        recorded.seed == seed
        and recorded.versions == _versions(planned.system)
        and [each.shape for each in recorded.points] == shapes
    )


def run_memory(
    plan: MemoryPlan,
    path: Path | None,
    *,
    seed: int,
    anew: Callable[[str], bool],
    place: Workspace,
    histories: Path | None = None,  # noqa: ARG001 - nothing here has a history
    console: Console,
) -> list[str]:
    """Measure what isn't recorded yet.

    Args:
        plan: What to measure.
        path: Where it is recorded after each quantity; nowhere if None. What is measured
            is then held against the constants that are recorded.
        seed: What the held-out shapes derive from.
        anew: Tells by a quantity's name whether to measure it although it is recorded.
        place: Where the broker's files are.
        histories: Nothing here has a history.
        console: Where progress is shown.

    Returns:
        All that makes the run fail.

    Raises:
        RecordError: What is there is no record.
    """
    before = record.load(path or record.PATH)
    recorded = dict(before.cells) if before else {}
    found: dict[str, Quantity] = {}
    left = []
    for each in plan.cells:
        there = recorded.get(each.name)
        if path and there and not anew(each.name) and _is_done(each, there, seed):
            found[each.name] = there
        else:
            left.append(each)
    for run_server, quantities in groupby(left, key=lambda each: each.server):
        with run_server(place) as server:
            for each in quantities:
                old = None if path else recorded.get(each.name)
                known = dict(old.constants) if old else None
                quantity = found[each.name] = measure(each, server, seed, known)
                console.print(summary(each.name, quantity))
                if path:
                    recorded[each.name] = quantity
                    command = f"nox -s labs -- {plan.name}"
                    record.save(path, Memory(plan.question, command, recorded))
    return problems(plan, found)


def problems(plan: MemoryPlan, found: dict[str, Quantity]) -> list[str]:
    """Return which relations don't hold, and for which quantities."""
    return [
        f"{name}: not so that {each.sentence} (seed {quantity.seed})"
        for each in plan.relations
        for name, quantity in found.items()
        if fnmatchcase(name, each.cells) and not each.holds(quantity)
    ]


def summary(name: str, quantity: Quantity) -> str:
    """Return what came out, in one line."""
    said = ", ".join(
        f"{constant} {each.bytes:g} ± {each.error:g}"
        for constant, each in quantity.constants.items()
    )
    if not said:
        said = ", ".join(f"{each.measured:g}" for each in quantity.points)
    fitted, unseen = quantity.worst(held_out=False), quantity.worst(held_out=True)
    return f"{name}: {said}; worst {fitted:.1%} fitted, {unseen:.1%} held out"
