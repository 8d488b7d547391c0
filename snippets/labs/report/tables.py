"""A record as tables: what is lost at one look, and each recorded cell with its detail.

They are HTML, as Markdown's tables have no classes and no anchors. On a phone each row
becomes a block, in which `data-head` names what the head of the column would have named.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from snippets.labs.record import Cell
from snippets.labs.report.summary import Pool, Verdict, verdict
from snippets.labs.report.words import age, count, counted, span

EMPTY = '""'


def anchor(cell: str) -> str:
    """Return the permalink of a cell's row, by the cell's name."""
    return f"cell-{cell.replace('/', '-')}"


@dataclass(frozen=True)
class Entry:
    """A cell of the lab, recorded or not.

    Attributes:
        name: Its name, such as `redis/aof-always/power-cut/ext4`.
        system: `redis` or `kafka`.
        configuration: The short name of the configuration.
        fault: The fault's short name.
        backend: What the fault is done with.
        settings: What is not the server's default.
        cell: What is recorded; None if nothing is.
    """

    name: str
    system: str
    configuration: str
    fault: str
    backend: str
    settings: Mapping[str, str]
    cell: Cell | None

    @property
    def anchor(self) -> str:
        """The permalink of its row."""
        return anchor(self.name)

    @property
    def column(self) -> str:
        """The fault and what it was done with."""
        fault = self.fault[:1].upper() + self.fault[1:]
        return f"{fault}, {self.backend}" if self.backend else fault

    @property
    def verdict(self) -> Verdict:
        """What it says."""
        return verdict(self.cell) if self.cell else Verdict.NOT_RECORDED


def wrap(label: str, kind: str, head: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table that is scrolled by itself.

    Args:
        label: What it shows, for those who can't see it.
        kind: Its class.
        head: The heads of its columns, HTML.
        rows: Its rows, HTML.
    """
    heads = "".join(f'<th scope="col">{each}</th>' for each in head)
    lines = [
        f'<div class="lab" role="region" tabindex="0" aria-label="{escape(label)}">',
        f'<table class="{kind}">',
        f"<thead><tr>{heads}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody>",
        "</table>",
        "</div>",
    ]
    return "\n".join(lines) + "\n"


def _code(settings: Mapping[str, str]) -> str:
    said = (f"{name} {value or EMPTY}" for name, value in settings.items())
    return " ".join(f"<code>{escape(each)}</code>" for each in said)


def _lines(entry: Entry) -> list[str]:
    """Return what a cell of the matrix says: the answer, then what else is to know."""
    cell = entry.cell
    if cell is None:
        return ["not recorded yet"]
    if cell.not_run:
        return ["not run here"]
    if not cell.trials:
        return ["all trials void"]
    found = Pool(cell.trials)
    if found.verdict is Verdict.ALL:
        lines = ["all", f"of {count(found.acknowledged)}"]
    else:
        lines = [f"{count(found.lost)} of {count(found.at_stake)}"]
    if found.verdict is Verdict.SOME and max(found.ages_ms) >= 1:
        lines.append(f"up to {age(max(found.ages_ms))} old")
    if found.groups != ["kept"]:
        lines.append(f"group {' or '.join(reversed(found.groups))}")
    if found.refused:
        lines.append(f"start refused in {counted(len(found.refused), 'trial')}")
    return lines


def _answer(column: str, entry: Entry | None, page: str = "") -> str:
    said = f'data-head="{escape(column)}"'
    if entry is None:
        return f'<td class="{Verdict.NOT_TRIED}" {said}><span>not tried</span></td>'
    first, *others = map(escape, _lines(entry))
    link = f'<a href="{page}#{entry.anchor}">{first}</a>'
    small = "".join(f'<small class="{each.split()[0]}">{each}</small>' for each in others)
    return f'<td class="{entry.verdict}" {said}><span>{link}{small}</span></td>'


def matrix(label: str, entries: Sequence[Entry], titles: Mapping[str, str]) -> str:
    """Return a table of configurations by faults: what is lost of what is acknowledged.

    Args:
        label: What the table shows, for those who can't see it.
        entries: The cells, in the order of the rows and columns.
        titles: What the configurations are called.
    """
    columns = list(dict.fromkeys(each.column for each in entries))
    rows = []
    for configuration in dict.fromkeys(each.configuration for each in entries):
        own = {e.column: e for e in entries if e.configuration == configuration}
        settings = next(iter(own.values())).settings
        title = escape(titles.get(configuration, configuration))
        head = f'<th scope="row">{title}<small>{_code(settings)}</small></th>'
        answers = "".join(_answer(column, own.get(column)) for column in columns)
        rows.append(f"<tr>{head}{answers}</tr>")
    return wrap(label, "matrix", ["Configuration", *map(escape, columns)], rows)


def listing(
    label: str,
    entries: Sequence[Entry],
    titles: Mapping[str, str],
    *,
    page: str = "",
    more: Mapping[str, Callable[[Cell], str]] | None = None,
) -> str:
    """Return the same for faults that hit few configurations: a row for each cell.

    Args:
        label: What the table shows, for those who can't see it.
        entries: The cells.
        titles: What the configurations are called.
        page: The address of the page that has the recorded runs, seen from this one.
        more: What else is said of a cell with trials, by the head of its column.
    """
    columns = more or {}
    rows = []
    for each in entries:
        title = titles.get(each.configuration, each.configuration)
        head = (
            f'<th scope="row">{escape(each.column)}: {escape(title)}'
            f"<small>{_code(each.settings)}</small></th>"
        )
        others = "".join(
            f'<td data-head="{escape(column)}">'
            f"{escape(say(each.cell)) if each.cell and each.cell.trials else '?'}</td>"
            for column, say in columns.items()
        )
        rows.append(f"<tr>{head}{_answer('Lost', each, page)}{others}</tr>")
    return wrap(label, "matrix", ["Fault and configuration", "Lost", *columns], rows)


OUTCOME_HEADS = (
    "Case",
    "Acknowledged in a trial",
    "Never processed",
    "Processed again",
    "Stored again",
    "Stored unheard",
    "Gone from the log",
)


def _outcome(cell: Cell) -> list[str]:
    return [
        span([each.acknowledged for each in cell.trials]),
        span([each.unprocessed for each in cell.trials]),
        span([each.repeated for each in cell.trials]),
        span([each.duplicated for each in cell.trials]),
        span([each.unacknowledged for each in cell.trials]),
        span([each.lost for each in cell.trials]),
    ]


def outcomes(label: str, entries: Sequence[Entry], titles: Mapping[str, str]) -> str:
    """Return a table of what clients lost or did twice, a row with an anchor a cell.

    Args:
        label: What the table shows, for those who can't see it.
        entries: The cells.
        titles: What the configurations are called.
    """
    rows = []
    for each in entries:
        title = titles.get(each.configuration, each.configuration)
        command = f"nox -s labs -- delivery --cell {each.name}"
        head = (
            f'<th scope="row"><a href="#{each.anchor}">'
            f"{escape(each.column)}: {escape(title)}</a>"
            f"<small><code>{escape(command)}</code></small></th>"
        )
        if each.cell is None or not each.cell.trials:
            rest = f'<td colspan="{len(OUTCOME_HEADS) - 1}">Not recorded yet.</td>'
        else:
            rest = "".join(
                f'<td data-head="{name}">{value}</td>'
                for name, value in zip(
                    OUTCOME_HEADS[1:], _outcome(each.cell), strict=True
                )
            )
        rows.append(f'<tr id="{each.anchor}">{head}{rest}</tr>')
    return wrap(label, "runs", OUTCOME_HEADS, rows)


RUN_HEADS = (
    "Cell",
    "Trials",
    "Acknowledged",
    "Lost in a trial",
    "Oldest lost",
    "Duplicated",
    "Reordered",
    "Unavailable",
    "Group",
    "Delivered again",
    "Start refused",
    "Ran on",
)


def _ran_on(cell: Cell) -> str:
    parts = [f"{name} {version}" for name, version in cell.versions.items()] + [
        cell.file_system,
        cell.host.system,
        f"{cell.rate:g} a second",
        cell.date,
    ]
    return ", ".join(parts)


def _measured(cell: Cell) -> list[str]:
    found = Pool(cell.trials)
    void = f" ({count(len(cell.void))} void)" if cell.void else ""
    refused = found.refused
    return [
        f"{count(len(cell.trials))}{void}",
        span([each.acknowledged for each in cell.trials]),
        span([each.lost for each in cell.trials]),
        f"{count(round(max(found.ages_ms)))} ms" if found.lost else "nothing lost",
        count(found.total(lambda each: each.duplicated)),
        count(found.total(lambda each: each.reordered)),
        f"{found.unavailable_s:.2f} s",
        " or ".join(reversed(found.groups)),
        count(found.total(lambda each: each.redelivered)),
        f"{count(len(refused))}: {refused[0]}" if refused else "0",
        _ran_on(cell),
    ]


def _run_row(entry: Entry, titles: Mapping[str, str]) -> str:
    cell = entry.cell
    title = titles.get(entry.configuration, entry.configuration)
    command = cell.command if cell else f"nox -s labs -- loss --cell {entry.name}"
    head = (
        f'<th scope="row"><a href="#{entry.anchor}">'
        f"{escape(entry.column)}: {escape(title)}</a>"
        f"<small><code>{escape(command)}</code></small></th>"
    )
    if cell is None:
        rest = f'<td colspan="{len(RUN_HEADS) - 1}">Not recorded yet.</td>'
    elif cell.not_run:
        said = f"Not run here: {cell.not_run}."
        rest = f'<td colspan="{len(RUN_HEADS) - 1}">{escape(said)}</td>'
    elif not cell.trials:
        reasons = "; ".join(each.reason for each in cell.void) or "no trial was made"
        said = f"{counted(len(cell.void), 'trial')}, all void: {reasons}."
        rest = f'<td colspan="{len(RUN_HEADS) - 1}">{escape(said)}</td>'
    else:
        rest = "".join(
            f'<td data-head="{name}">{escape(value)}</td>'
            for name, value in zip(RUN_HEADS[1:], _measured(cell), strict=True)
        )
    return f'<tr id="{entry.anchor}">{head}{rest}</tr>'


def runs(entries: Sequence[Entry], titles: Mapping[str, Mapping[str, str]]) -> str:
    """Return a table of all cells with what was measured, each row with an anchor.

    Args:
        entries: The cells.
        titles: What the configurations are called, by system.
    """
    rows = []
    for system, own in groupby(entries, key=lambda each: each.system):
        name = system.capitalize()
        rows.append(
            f'<tr><th scope="rowgroup" colspan="{len(RUN_HEADS)}">{name}</th></tr>'
        )
        rows += [_run_row(each, titles.get(system, {})) for each in own]
    return wrap("The recorded runs", "runs", RUN_HEADS, rows)
