"""Fit the constants of a model by least squares of the relative error."""

from collections.abc import Mapping, Sequence

import numpy as np

from snippets.labs.memory.record import Constant
from snippets.labs.memory.shapes import Shape

# A model may be linear only once the constants are known well, as rounding makes it.
ROUNDS = 50
SETTLED = 1e-9


class FitError(Exception):
    """The points don't determine the constants: says which."""


def fit(measured: Sequence[tuple[Shape, float]]) -> dict[str, Constant]:
    """Return the constants with which the model is nearest to what was measured.

    Args:
        measured: Shapes with their bytes; at least as many as there are constants.

    Raises:
        FitError: The points don't determine the constants.
    """
    names = sorted({name for shape, _ in measured for name in shape.terms({}).times})
    values: dict[str, float] = {}
    errors = np.zeros(len(names))
    for _ in range(ROUNDS):
        found, errors = _solve(names, measured, values)
        before, values = values, dict(zip(names, found, strict=True))
        if before and _change(before, values) < SETTLED:
            break
    return {
        name: Constant(round(values[name], 3), round(float(error), 3))
        for name, error in zip(names, errors, strict=True)
    }


def _solve(
    names: Sequence[str],
    measured: Sequence[tuple[Shape, float]],
    values: Mapping[str, float],
) -> tuple[list[float], "np.ndarray[tuple[int], np.dtype[np.float64]]"]:
    """Return the constants and their standard errors, from those of the round before."""
    rows, wanted = [], []
    for shape, total in measured:
        known, times = shape.terms(values)
        rows.append([times.get(name, 0.0) / total for name in names])
        wanted.append((total - known) / total)
    matrix, goal = np.array(rows), np.array(wanted)
    found, _, rank, _ = np.linalg.lstsq(matrix, goal, rcond=None)
    if rank < len(names):
        raise FitError(f"{len(measured)} points don't determine {', '.join(names)}")
    left = goal - matrix @ found
    freedom = max(1, len(measured) - len(names))
    spread = float(left @ left) / freedom
    errors = np.sqrt(np.diag(np.linalg.inv(matrix.T @ matrix)) * spread)
    return [float(each) for each in found], errors


def _change(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    return max(abs(now[name] - before[name]) for name in now)
