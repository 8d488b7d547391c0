"""The ledger is what the tests prove, and pages and ledger point at each other."""

import inspect
from dataclasses import replace

import pytest

from tests.ledger import (
    LEDGER,
    ROOT,
    all_tests,
    citations,
    load,
    render,
    sentence_of,
    write_whole,
)
from tests.measured import proof_of

REFRESH = "run `nox -s tests -- --update-examples` and look at the difference"


def test_ledger_is_what_the_tests_prove(pytestconfig: pytest.Config) -> None:
    tests = all_tests()
    recorded = load()
    sentences = {key: sentence_of(test) for key, test in tests.items()}
    assert {key: each.sentence for key, each in recorded.items()} == sentences, REFRESH
    sources = {key: inspect.getsource(test) for key, test in tests.items()}
    ledger = render(recorded, sources, citations())
    if pytestconfig.getoption("update_examples"):
        write_whole(LEDGER, ledger)
    assert LEDGER.read_text(encoding="utf-8") == ledger, REFRESH


def test_recorded_claims_are_of_the_record_as_it_is_now() -> None:
    tests = all_tests()
    stale = []
    for key, each in load().items():
        (mark,) = (
            mark for mark in getattr(tests[key], "pytestmark", []) if mark.name == "claim"
        )
        cells = mark.kwargs["cells"]
        lab = mark.kwargs["lab"]
        if cells and replace(each, **proof_of(each.system, lab, cells)) != each:
            stale.append(key)
    assert stale == [], REFRESH


def test_every_citation_is_of_a_claim() -> None:
    known = load()
    wrong = [
        f"docs/{each.page}:{each.line}: there is no claim {each.claim}"
        for each in citations()
        if each.claim not in known
    ]
    assert wrong == []


def test_every_proof_link_is_a_citation() -> None:
    cited = {(each.page, each.line) for each in citations()}
    wrong = []
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if "[proof]" in line and (name, number) not in cited:
                wrong.append(f"docs/{name}:{number}: {line.strip()}")
    assert wrong == [], "write [proof](…/evidence/claims.md#the-claim){.proof}"
