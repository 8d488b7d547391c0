"""What the pages show of the labs is what the record says now."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from snippets.labs import delivery, loss
from snippets.labs.plan import AnyCell, LabPlan
from snippets.labs.record import Lab, load
from snippets.labs.report import delivery as delivery_report
from snippets.labs.report import loss as loss_report
from tests.docs.recorded import DOCS, ROOT
from tests.ledger import write_whole

DATA = DOCS / "data"
Pieces = Callable[[Lab, Sequence[AnyCell]], Mapping[str, str]]
LABS: dict[str, tuple[Callable[[], LabPlan], Pieces]] = {
    "loss": (loss.full, loss_report.pieces),
    "delivery": (delivery.full, delivery_report.pieces),
}


@pytest.mark.parametrize("name", LABS)
def test_pages_show_what_is_recorded(name: str, pytestconfig: pytest.Config) -> None:
    plan, pieces = LABS[name]
    planned = plan()
    recorded = load(DATA / f"{name}.json") or Lab(planned.question, "", {}, {})
    made = pieces(recorded, planned.cells)
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
