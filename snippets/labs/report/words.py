"""How the site writes what was measured."""

from collections.abc import Sequence
from statistics import median

from snippets.labs.report.summary import MS_PER_S


def count(number: int) -> str:
    """Return a number with a comma at its thousands."""
    return f"{number:,}"


def counted(number: int, thing: str) -> str:
    """Return a number of things, such as `1 trial` or `5 trials`."""
    return f"{count(number)} {thing}" + ("" if number == 1 else "s")


def span(numbers: Sequence[int]) -> str:
    """Return the least and the greatest number, or the only one."""
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def age(ms: float) -> str:
    """Return an age as seconds, or as milliseconds where it is short."""
    if ms >= MS_PER_S / 10:
        return f"{ms / MS_PER_S:.1f} s"
    return f"{ms:.0f} ms"


def spread(numbers: Sequence[float], unit: str = "", digits: int = 0) -> str:
    """Return the median, and what lies on either side of it if they differ.

    Args:
        numbers: One for each trial.
        unit: What stands behind a number, such as ` s`.
        digits: How many digits after the point.
    """
    low, middle, high = (
        f"{each:,.{digits}f}" for each in (min(numbers), median(numbers), max(numbers))
    )
    if low == high:
        return f"{middle}{unit}"
    return f"{middle}{unit} ({low} to {high})"
