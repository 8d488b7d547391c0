"""Charts as SVG, in the colors of the page: every trial is a dot, and none is hidden."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from statistics import median

from snippets.labs.report.words import age, counted

WIDTH, LEFT, RIGHT = 480, 20, 460
HEAD, ROW, FOOT = 40, 104, 44
RADIUS = 5
TICK_MS = 500


def _text(x: float, y: float, said: str, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="16" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="currentColor">{escape(said)}</text>'
    )


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
    lines = [
        (
            '<svg xmlns="http://www.w3.org/2000/svg" class="diagram" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-labelledby="{name}-title {name}-desc" font-family="inherit">'
        ),
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-desc">{escape(said or "Not recorded yet.")}</desc>',
        _text(LEFT, 22, title, weight=700),
    ]
    line = "var(--diagram-line, #8b989d)"
    for tick in range(ticks + 1):
        x = LEFT + tick * TICK_MS * scale
        anchor = {0: "start", ticks: "end"}.get(tick, "middle")
        dash = "" if tick % 2 == 0 else ' stroke-dasharray="3 4"'
        lines += [
            f'<path d="M{x:.1f} {HEAD} V{base}" stroke="{line}"{dash}/>',
            _text(x, base + 22, f"{tick * TICK_MS / 1000:g} s", anchor),
        ]
    for number, (row, ages) in enumerate(rows.items()):
        floor = HEAD + ROW * (number + 1) - 10
        lines.append(f'<path d="M{LEFT} {floor} H{RIGHT}" stroke="{line}"/>')
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
        lines.append(_text(LEFT + 8, HEAD + ROW / 2, "Not recorded yet."))
    return "\n".join([*lines, "</svg>"]) + "\n"
