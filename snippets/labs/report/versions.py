"""What the site shows of the probes: see `docs/evidence/versions.md`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from snippets.labs.report.tables import anchor, wrap
from snippets.labs.report.words import counted
from snippets.labs.versions.matrix import Column, Matrix
from snippets.labs.versions.plan import Planned
from snippets.labs.versions.probe import Probe, Verdict

# Where the reference shows the probes, from the page's own folder.
REFERENCE = "../reference/probes.md"

CODE = re.compile(r"`([^`]+)`")
ERROR = re.compile(r"\w+(Error|Exception): ")

# The tables, by the start of the names of their columns, and what each is about.
TABLES = {
    "redis": ("redis/", "Redis and Valkey: which feature is there"),
    "kafka": ("kafka/", "Kafka: which feature is there"),
    "redis_libraries": ("library/", "Libraries for Redis: which feature is there"),
    "kafka_libraries": ("library/", "Libraries for Kafka: which feature is there"),
}
OF_REDIS = {"library/redis", "library/valkey"}
TITLES = {"redis": "redis-py", "valkey": "valkey-py"}


@dataclass(frozen=True)
class Asked:
    """A column of a table.

    Attributes:
        plan: What was to be asked.
        column: What is recorded; None if nothing is.
    """

    plan: Planned
    column: Column | None

    @property
    def title(self) -> str:
        """What its head says."""
        return f"{TITLES.get(self.plan.product, self.plan.product)} {self.plan.version}"

    def verdict(self, probe: str) -> str:
        """Return the answer in a word."""
        if self.column is None:
            return "not recorded yet"
        if self.column.not_run:
            return "not run here"
        return self.column.answers[probe].verdict

    def said(self, probe: str) -> str:
        """Return the error, or why it was not asked; empty after a yes."""
        if self.column is None:
            return ""
        if self.column.not_run:
            return self.column.not_run
        return self.column.answers[probe].said


def _belongs(name: str, table: str) -> bool:
    if not name.startswith(TABLES[table][0]):
        return False
    if not name.startswith("library/"):
        return True
    return (name in OF_REDIS) is (table == "redis_libraries")


def _of(table: str, matrix: Matrix, planned: Sequence[Planned]) -> list[Asked]:
    return [
        Asked(each, matrix.columns.get(each.name))
        for each in planned
        if _belongs(each.name, table)
    ]


def _probe_anchor(table: str, probe: Probe[Any]) -> str:
    return f"{table.replace('_', '-')}-{probe.name}"


def _html(title: str) -> str:
    return CODE.sub(r"<code>\1</code>", escape(title))


def _ages(probe: Probe[Any]) -> str:
    if not probe.since:
        return ""
    until = f", until {probe.until}" if probe.until else ""
    return f"since {probe.since}{until}"


def _table(table: str, shown: Sequence[Asked]) -> str:
    rows = []
    for probe in shown[0].plan.probes:
        small = f"<small>{_ages(probe)}</small>" if probe.since else ""
        cells = [f'<th scope="row">{_html(probe.title)}{small}</th>']
        for each in shown:
            verdict = each.verdict(probe.name)
            cell = anchor(f"{each.plan.name}/{probe.name}")
            link = f'<a href="#{_probe_anchor(table, probe)}">{verdict}</a>'
            cells.append(
                f'<td id="{cell}" class="{verdict.split()[0]}" '
                f'data-head="{escape(each.title)}"><span>{link}</span></td>'
            )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = ["Feature", *(escape(each.title) for each in shown)]
    return wrap(TABLES[table][1], "matrix", heads, rows)


def _shown(said: str) -> str:
    """Return an error as code, and what was found instead as it is."""
    if not ERROR.match(said):
        return said
    # What a server puts in quotes has changed, and what it says has not.
    return "`{}`".format(said.replace("`", "'"))


def _refusals(probe: str, shown: Sequence[Asked]) -> Iterator[str]:
    """Say who has not got it, those together who said the same."""
    by_answer: dict[tuple[str, str], list[str]] = {}
    for each in shown:
        said = _shown(each.said(probe))
        if (verdict := each.verdict(probe)) != Verdict.YES:
            by_answer.setdefault((verdict, said), []).append(each.title)
    for (verdict, said), titles in by_answer.items():
        told = f": {said}" if said else ""
        yield f"    - **{verdict}** on {', '.join(titles)}{told}"


def _answers(table: str, shown: Sequence[Asked]) -> str:
    lines = []
    for probe in shown[0].plan.probes:
        about = " ".join((probe.run.__doc__ or "").split())
        # Each library has a probe of its own, where they have nothing in common.
        own = {
            found.reference: each.title
            for each in shown
            for found in each.plan.probes
            if found.name == probe.name
        }
        alone = len(own) == 1
        links = ", ".join(
            f"[{'the probe' if alone else title}]({REFERENCE}#{reference})"
            for reference, title in own.items()
        )
        ages = f", {_ages(probe)}" if probe.since else ""
        label = f"**[{probe.title}]({probe.source}){{#{_probe_anchor(table, probe)}}}**"
        lines.append(f"- {label}{ages}. {about} {'See' if alone else 'Probes:'} {links}.")
        lines += list(_refusals(probe.name, shown)) or ["    - yes on all of them"]
    return "\n".join(lines) + "\n"


def _overview(matrix: Matrix, planned: Sequence[Planned]) -> str:
    columns = [each for each in matrix.columns.values() if each.answers]
    if not columns:
        return "Nothing is recorded yet.\n"
    answers = sum(len(each.answers) for each in columns)
    days = sorted({each.date for each in columns})
    libraries = {
        f"{TITLES.get(name, name)} {number}"
        for each in columns
        for name, number in each.asked_with.items()
        if name not in {"Redis", "Kafka"}
    }
    absent = [each.name for each in planned if not _answered(matrix, each.name)]
    missing = f" Not recorded: {', '.join(absent)}." if absent else ""
    date = " to ".join(dict.fromkeys((days[0], days[-1])))
    return (
        f"{counted(answers, 'answer')} of {len(columns)} servers and libraries, asked on "
        f"{date}, the servers through {', '.join(sorted(libraries))}.{missing}\n"
    )


def _answered(matrix: Matrix, name: str) -> bool:
    column = matrix.columns.get(name)
    return column is not None and bool(column.answers)


def pieces(matrix: Matrix, planned: Sequence[Planned]) -> Mapping[str, str]:
    """Return what the pages include, by the name of the file.

    Args:
        matrix: What is recorded.
        planned: What would be asked.
    """
    made = {"overview.txt": _overview(matrix, planned)}
    for table in TABLES:
        shown = _of(table, matrix, planned)
        made[f"{table}.txt"] = _table(table, shown)
        made[f"{table}_answers.txt"] = _answers(table, shown)
    return made
