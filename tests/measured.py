"""Claims that a lab has recorded the proof of: cells, with all their trials or points."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest

from snippets.labs.memory import record as memory
from snippets.labs.memory.record import Quantity
from snippets.labs.record import DATA, Cell, Lab, load, load_as
from snippets.labs.report.summary import matching, pool
from snippets.labs.versions import plan as versions
from snippets.labs.versions.matrix import Column, Matrix, answers
from snippets.labs.versions.probe import Answer
from tests.ledger import MEMORY

SERVERS = {"redis": "Redis", "kafka": "Kafka"}


@cache
def _load(lab: str) -> Lab:
    path = DATA / f"{lab}.json"
    if found := load(path):
        return found
    pytest.fail(f"there is no {path.name}: record it with `nox -s labs -- {lab}`")


def cells_of(lab: str, patterns: Sequence[str]) -> dict[str, Cell]:
    """Return the recorded cells that match, by name; each has trials.

    Args:
        lab: The lab's name.
        patterns: For the names. Each of them must match a cell.
    """
    recorded = _load(lab)
    for pattern in patterns:
        if not matching(recorded, [pattern]):
            pytest.fail(
                f"no trial of {pattern} is recorded: run `{command_for(lab, [pattern])}`"
            )
    cells = matching(recorded, patterns)
    void = {
        cell.backend or "none"
        for cell in cells.values()
        if recorded.controls.get(cell.backend or "none") != "held"
    }
    assert not void, f"the controls of {void} don't hold, so that its trials say nothing"
    return cells


def quantities_of(patterns: Sequence[str]) -> dict[str, Quantity]:
    """Return the recorded quantities of the lab on memory that match, by name.

    Args:
        patterns: For the names. Each of them must match a quantity.
    """
    recorded = memory.load()
    cells = recorded.cells if recorded else {}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in cells):
            command = command_for(MEMORY, [pattern])
            pytest.fail(f"{pattern} is not recorded: run `{command}`")
    return {
        name: each
        for name, each in cells.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def answers_of(patterns: Sequence[str]) -> dict[str, tuple[Column, Answer]]:
    """Return the recorded answers of servers and libraries that match, by name.

    Args:
        patterns: For the names, such as `redis/*/xnack`. Each of them must match one.
    """
    matrix = load_as(DATA / f"{versions.NAME}.json", Matrix)
    recorded = answers(matrix) if matrix else {}
    found: dict[str, tuple[Column, Answer]] = {}
    for pattern in patterns:
        names = [name for name in recorded if fnmatchcase(name, pattern)]
        if not names:
            pytest.fail(f"no answer of {pattern} is recorded: `nox -s labs -- versions`")
        found |= {name: recorded[name] for name in names}
    return found


def _proof_of_answers(patterns: Sequence[str]) -> dict[str, Any]:
    found = answers_of(patterns)
    columns = {id(column): column for column, _ in found.values()}.values()
    asked = {f"{each.product} {each.version}": None for each in columns}
    others = {f"{k} {v}" for each in columns for k, v in each.asked_with.items()}
    days = sorted({each.date for each in columns})
    chosen = dict.fromkeys(pattern.rpartition("/")[0] for pattern in patterns)
    return {
        "server": f"{', '.join(asked)} (recorded)",
        "client": ", ".join(sorted(others)),
        "date": days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
        "command": command_for(versions.NAME, list(chosen)),
        "trials": len(found),
        "cells": list(found),
        "lab": versions.NAME,
    }


def command_for(lab: str, patterns: Sequence[str]) -> str:
    """Return what records cells again."""
    chosen = " ".join(f"--cell '{pattern}'" for pattern in patterns)
    return f"nox -s labs -- {lab} {chosen}"


def proof_of(system: str, lab: str, patterns: Sequence[str]) -> dict[str, Any]:
    """Return what the ledger says of the cells that prove a claim; see `ledger.Claim`.

    Args:
        system: `redis` or `kafka`.
        lab: The lab's name.
        patterns: For the names of the cells.
    """
    if lab == versions.NAME:
        return _proof_of_answers(patterns)
    cells: Mapping[str, Cell | Quantity]
    if lab == MEMORY:
        cells = quantities = quantities_of(patterns)
        trials = sum(len(each.points) for each in quantities.values())
    else:
        cells = tried = cells_of(lab, patterns)
        trials = len(pool(tried.values()).trials)
    parts = {part for each in cells.values() for part in each.versions.items()}
    server, client = (
        ", ".join(
            f"{name} {version}"
            for name, version in sorted(parts)
            if (name == SERVERS[system]) is of_server
        )
        for of_server in (True, False)
    )
    # Versions are those of the servers' own clients; some cells say which one they used.
    used = {
        each.settings.get("client", "")
        for each in cells.values()
        if isinstance(each, Cell)
    }
    if others := sorted(each for each in used if each.startswith("confluent-kafka ")):
        client = ", ".join(others)
    days = sorted({each.date for each in cells.values()})
    return {
        "server": f"{server} (recorded)",
        "client": client,
        "date": days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
        "command": command_for(lab, patterns),
        "trials": trials,
        "cells": list(cells),
        "lab": lab,
    }
