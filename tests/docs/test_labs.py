"""What the pages show of the labs is what the record says now."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest

from snippets.labs import delivery, loss
from snippets.labs.memory import record as memory_record
from snippets.labs.plan import AnyCell, LabPlan
from snippets.labs.record import Lab, load, load_as
from snippets.labs.report import delivery as delivery_report
from snippets.labs.report import loss as loss_report
from snippets.labs.report import memory as memory_report
from snippets.labs.report import sizing as sizing_report
from snippets.labs.report import versions as versions_report
from snippets.labs.versions import plan as versions
from snippets.labs.versions.matrix import Matrix
from tests.docs.recorded import DOCS, ROOT
from tests.ledger import write_whole

DATA = DOCS / "data"
Pieces = Mapping[str, str]


def of_trials(
    plan: Callable[[], LabPlan], pieces: Callable[[Lab, Sequence[AnyCell]], Pieces]
) -> Pieces:
    """Return what the pages show of a lab with trials."""
    planned = plan()
    recorded = load(DATA / f"{planned.name}.json")
    return pieces(recorded or Lab(planned.question, "", {}, {}), planned.cells)


def of_versions() -> Pieces:
    """Return what the pages show of the releases."""
    planned = versions.full()
    recorded = load_as(DATA / f"{planned.name}.json", Matrix)
    return versions_report.pieces(
        recorded or Matrix(planned.question, "", {}), planned.cells
    )


LABS: dict[str, Callable[[], Pieces]] = {
    "loss": partial(of_trials, loss.full, loss_report.pieces),
    "delivery": partial(of_trials, delivery.full, delivery_report.pieces),
    "memory": lambda: memory_report.pieces(memory_record.load()),
    versions.NAME: of_versions,
    "sizing": lambda: sizing_report.pieces(memory_record.constants()),
}


@pytest.mark.parametrize("name", LABS)
def test_pages_show_what_is_recorded(name: str, pytestconfig: pytest.Config) -> None:
    made = LABS[name]()
    folder = DATA / name
    if pytestconfig.getoption("update_examples"):
        for gone in set(folder.glob("*")) - {folder / each for each in made}:
            gone.unlink()
        for file, text in made.items():
            write_whole(folder / file, text)
    assert {each.name for each in folder.glob("*")} == set(made)
    stale = [
        (folder / file).relative_to(ROOT).as_posix()
        for file, text in made.items()
        if (folder / file).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `nox -s tests -- tests/docs/test_labs.py --update-examples`"
