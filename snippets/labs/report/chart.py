"""Charts as SVG, in the colors of the page: every trial is drawn, and none is hidden."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from statistics import median
from typing import NamedTuple

from snippets.labs.record import TimeLine
from snippets.labs.report.summary import MS_PER_S
from snippets.labs.report.words import age, counted

WIDTH, LEFT, RIGHT = 480, 20, 460
HEAD, ROW, FOOT = 40, 104, 44
RADIUS = 5
# The height of a bar with its label, and the room to the right of the longest one.
BAR, SAID = 48, 80
NOT_RECORDED = "Not recorded yet."
TICK_MS = 500
LINE = "var(--diagram-line, #8b989d)"


def _text(x: float, y: float, said: str, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="16" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="currentColor">{escape(said)}</text>'
    )


def _begin(name: str, title: str, described: str, height: int) -> list[str]:
    """Return how every chart begins.

    Args:
        name: Unique on its page.
        title: What it shows.
        described: What it says, for those who can't see it.
        height: How high it is.
    """
    return [
        (
            '<svg xmlns="http://www.w3.org/2000/svg" class="diagram" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-labelledby="{name}-title {name}-desc" font-family="inherit">'
        ),
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-desc">{escape(described or NOT_RECORDED)}</desc>',
        _text(LEFT, 22, title, weight=700),
    ]


class Bar(NamedTuple):
    """A line of a chart of bars.

    Attributes:
        label: What it is.
        value: How long the bar is.
        said: The value with its unit.
        color: `redis` or `kafka`.
    """

    label: str
    value: float
    said: str
    color: str


def bars(name: str, title: str, rows: Sequence[Bar]) -> str:
    """Return a chart of bars, all on one scale, each with its value.

    Args:
        name: Unique on its page.
        title: What it shows.
        rows: The bars.
    """
    described = "; ".join(f"{each.label}: {each.said}" for each in rows)
    height = HEAD + BAR * max(1, len(rows)) + RADIUS
    lines = _begin(name, title, described, height)
    scale = (RIGHT - LEFT - SAID) / max((each.value for each in rows), default=1)
    for number, each in enumerate(rows):
        top = HEAD + BAR * number
        long = each.value * scale
        lines += [
            _text(LEFT, top + 18, each.label),
            (
                f'<rect x="{LEFT}" y="{top + 24}" width="{long:.1f}" height="14" '
                f'fill="var(--diagram-{each.color}, currentColor)"/>'
            ),
            _text(LEFT + long + 8, top + 37, each.said, weight=700),
        ]
    if not rows:
        lines.append(_text(LEFT, HEAD + BAR / 2, NOT_RECORDED))
    return "\n".join([*lines, "</svg>"]) + "\n"


def strips(
    name: str, title: str, rows: Mapping[str, Sequence[float]], *, color: str
) -> str:
    """Return a chart of ages: a line for each row, a dot for each trial.

    Args:
        name: Unique on its page.
        title: What it shows.
        rows: Milliseconds by the name of the row.
        color: `redis` or `kafka`.
    """
    values = [value for row in rows.values() for value in row]
    ticks = max(2, int(max(values, default=0) // TICK_MS) + 1)
    scale = (RIGHT - LEFT) / (ticks * TICK_MS)
    height = HEAD + ROW * max(1, len(rows)) + FOOT
    base = HEAD + ROW * max(1, len(rows))
    said = "; ".join(
        f"{row}: {counted(len(ages), 'trial')}, from {age(min(ages))} to "
        f"{age(max(ages))}, median {age(median(ages))}"
        for row, ages in rows.items()
    )
    lines = _begin(name, title, said, height)
    for tick in range(ticks + 1):
        x = LEFT + tick * TICK_MS * scale
        anchor = {0: "start", ticks: "end"}.get(tick, "middle")
        dash = "" if tick % 2 == 0 else ' stroke-dasharray="3 4"'
        lines += [
            f'<path d="M{x:.1f} {HEAD} V{base}" stroke="{LINE}"{dash}/>',
            _text(x, base + 22, f"{tick * TICK_MS / 1000:g} s", anchor),
        ]
    for number, (row, ages) in enumerate(rows.items()):
        floor = HEAD + ROW * (number + 1) - 10
        lines.append(f'<path d="M{LEFT} {floor} H{RIGHT}" stroke="{LINE}"/>')
        label = f"{row}, {counted(len(ages), 'trial')}"
        lines.append(_text(LEFT + 8, floor - ROW + 30, label, weight=700))
        stacked: Counter[int] = Counter()
        for value in sorted(ages):
            x = LEFT + value * scale
            place = round(x / (2 * RADIUS))
            y = floor - RADIUS - 2 - stacked[place] * 2 * RADIUS
            stacked[place] += 1
            lines.append(
                f'<circle cx="{x:.1f}" cy="{y}" r="{RADIUS - 0.5:g}" '
                f'fill="var(--diagram-{color}, currentColor)"/>'
            )
    if not values:
        lines.append(_text(LEFT + 8, HEAD + ROW / 2, NOT_RECORDED))
    return "\n".join([*lines, "</svg>"]) + "\n"


@dataclass(frozen=True)
class Panel:
    """Trials of one configuration, one below the other.

    Attributes:
        label: What it is called.
        color: `redis` or `kafka`.
        rate: How many values are due in a second.
        lines: A time line for each trial.
        said: What they show, for those who can't see it.
    """

    label: str
    color: str
    rate: float
    lines: Sequence[TimeLine]
    said: str


LEGEND = ("Above a line: acknowledged. Below it: tried,", "and never acknowledged.")
PANEL_HEAD, LINE_ROW = 40, 46
# What is due has this height; a burst is cut off at twice as much.
UNIT = 11


def _numbers(counts: str) -> list[int]:
    return [int(each) for each in counts.split()]


def _steps(heights: Sequence[float], base: float, step: float) -> str:
    """Return the outline of bars that stand side by side on a line."""
    parts = [f"M{LEFT} {base:g}"]
    x = float(LEFT)
    for height, same in groupby(heights):
        x += step * len(list(same))
        parts.append(f"V{base - height:.1f} H{x:.1f}")
    return " ".join([*parts, f"V{base:g} Z"])


def _bars(line: TimeLine, rate: float, base: float, step: float, color: str) -> list[str]:
    due = rate * line.step_ms / MS_PER_S

    def heights(counts: str) -> list[float]:
        return [min(each / due, 2.0) * UNIT for each in _numbers(counts)]

    above = heights(line.acknowledged)
    below = [-height for height in heights(line.unacknowledged)]
    fill = f"var(--diagram-{color}, currentColor)"
    return [
        f'<path d="{_steps(above, base, step)}" fill="{fill}"/>',
        f'<path d="{_steps(below, base, step)}" fill="currentColor"/>',
        f'<path d="M{LEFT} {base} H{RIGHT}" stroke="{LINE}"/>',
    ]


def time_lines(name: str, title: str, panels: Sequence[Panel]) -> str:
    """Return a chart of what became of writes around a fault, on one axis of time.

    Args:
        name: Unique on its page.
        title: What it shows.
        panels: One below the other; those without a time line are left out.
    """
    shown = [panel for panel in panels if panel.lines]
    every = [line for panel in shown for line in panel.lines]
    before_s = max((each.before * each.step_ms / MS_PER_S for each in every), default=1)
    ends = [len(_numbers(each.attempted)) * each.step_ms / MS_PER_S for each in every]
    whole_s = max(ends, default=2)
    scale = (RIGHT - LEFT) / whole_s
    top = HEAD + 20 * len(LEGEND)
    base = top + sum(PANEL_HEAD + LINE_ROW * len(panel.lines) for panel in shown)
    said = "; ".join(f"{panel.label}: {panel.said}" for panel in shown)
    lines = _begin(name, title, said, base + FOOT)
    lines += [_text(LEFT, HEAD + 6 + 20 * at, each) for at, each in enumerate(LEGEND)]
    ticks = {
        tick: LEFT + (before_s + tick) * scale
        for tick in range(0, int(whole_s - before_s) + 1, 2)
    }
    y = top
    for panel in shown:
        label = f"{panel.label}, {counted(len(panel.lines), 'trial')}"
        lines.append(_text(LEFT, y + 26, label, weight=700))
        y += PANEL_HEAD
        foot = y + LINE_ROW * len(panel.lines)
        for tick, x in ticks.items():
            drawn = (
                f'stroke="{LINE}"' if tick else 'stroke="currentColor" stroke-width="2"'
            )
            lines.append(f'<path d="M{x:.1f} {y - 4} V{foot}" {drawn}/>')
        for line in panel.lines:
            step = scale * line.step_ms / MS_PER_S
            lines += _bars(line, panel.rate, y + 2 * UNIT, step, panel.color)
            y += LINE_ROW
    for tick, x in ticks.items():
        label, weight = (f"{tick} s", 400) if tick else ("fault", 700)
        lines.append(_text(x, base + 22, label, "middle", weight))
    if not shown:
        lines.append(_text(LEFT, top + 20, NOT_RECORDED))
    return "\n".join([*lines, "</svg>"]) + "\n"
