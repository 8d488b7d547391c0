"""What the claims look at that a lab has recorded."""

from collections.abc import Mapping, Sequence

import pytest

from snippets.labs.memory.record import Quantity
from snippets.labs.record import Cell, Trial
from snippets.labs.report.summary import pool
from snippets.labs.versions.probe import Verdict
from tests.measured import answers_of, cells_of, quantities_of


@pytest.fixture
def cells(request: pytest.FixtureRequest) -> Mapping[str, Cell]:
    """The recorded cells that the claim is about."""
    marked = request.node.get_closest_marker("claim").kwargs
    return cells_of(marked["lab"], marked["cells"])


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> Mapping[str, Verdict]:
    """What the servers and libraries have said that the claim is about."""
    marked = request.node.get_closest_marker("claim").kwargs
    return {
        name: answer.verdict for name, (_, answer) in answers_of(marked["cells"]).items()
    }


@pytest.fixture
def trials(cells: Mapping[str, Cell]) -> Sequence[Trial]:
    """All of their trials."""
    return pool(cells.values()).trials


@pytest.fixture
def quantities(request: pytest.FixtureRequest) -> Mapping[str, Quantity]:
    """The recorded quantities that the claim is about."""
    marked = request.node.get_closest_marker("claim").kwargs
    return quantities_of(marked["cells"])


@pytest.fixture
def quantity(quantities: Mapping[str, Quantity]) -> Quantity:
    """The only one of them."""
    (found,) = quantities.values()
    return found
