"""How hypothesis draws, and a workspace for the disks of a test."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from snippets.labs.workspace import Workspace
from snippets.labs.workspace import workspace as new_workspace

# A busy machine is slow without any fault of the code.
settings.register_profile("labs", deadline=None)
settings.load_profile("labs")


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """A workspace as a lab has it."""
    with new_workspace() as made:
        yield made
