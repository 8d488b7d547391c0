"""What is recorded of the probes: `docs/data/versions.json`."""

import datetime as dt
import hashlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from snippets.labs.record import Host, Part
from snippets.labs.versions.probe import Answer, Probe


class Column(Part, frozen=True):
    """What one server, or one client, said to all probes.

    Attributes:
        product: Such as `Redis`, `Valkey`, `Kafka` or `redis-py`.
        version: The version that answered.
        asked_with: What asked it, by name: the clients, or for a client the server.
        host: Where it ran.
        date: When, in UTC.
        command: What asks again.
        probes: What tells whether the probes are still those that were run.
        way: How the server was had.
        answers: By the probe's name.
        not_run: Why it can't be had here; there are no answers then.
    """

    product: str
    version: str
    asked_with: dict[str, str]
    host: Host
    date: str
    command: str
    probes: str
    way: str = ""
    answers: dict[str, Answer] = msgspec.field(default_factory=dict)
    not_run: str = ""


class Matrix(Part, frozen=True):
    """All that is recorded.

    Attributes:
        question: What it is to answer.
        command: What repeats it.
        columns: By name, such as `redis/8.2.3`.
    """

    question: str
    command: str
    columns: dict[str, Column]


def fingerprint(probes: Iterable[Probe[Any]]) -> str:
    """Return a short text that changes when a probe does, or the module that it is in."""
    sources = {
        inspect.getsource(inspect.getmodule(each.run) or each.run) for each in probes
    }
    return hashlib.sha256("".join(sorted(sources)).encode()).hexdigest()[:12]


def today() -> str:
    """Return the day in UTC."""
    return dt.datetime.now(tz=dt.UTC).date().isoformat()


def is_done(recorded: Column | None, blank: Column) -> bool:
    """Tell whether a recorded column is what would come of a blank one."""
    if recorded is None:
        return False
    without_results = msgspec.structs.replace(
        recorded, date=blank.date, way="", answers={}, not_run=""
    )
    return bool(recorded.answers) and without_results == blank


def answers(matrix: Matrix) -> Mapping[str, tuple[Column, Answer]]:
    """Return every answer by its cell's name, such as `redis/8.2.3/xnack`."""
    return {
        f"{name}/{probe}": (column, answer)
        for name, column in matrix.columns.items()
        for probe, answer in column.answers.items()
    }
