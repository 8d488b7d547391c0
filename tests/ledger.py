"""The claims: sentences of the site that a test proves, and the page that lists them.

A claim is a test. Its name is the permalink, its docstring the sentence, its body the
proof, which talks to a server, or looks at all trials that a lab has recorded of some
cells. What a run proves is recorded in `docs/data/claims.json`, and the ledger,
`docs/evidence/claims.md`, is derived from it.
"""

import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from snippets.labs.report.tables import anchor

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RECORD = DOCS / "data" / "claims.json"
LEDGER = DOCS / "evidence" / "claims.md"

SYSTEMS = {"redis": "Redis Streams", "kafka": "Kafka"}
CITATION = re.compile(r"\(([\w./-]*evidence/claims\.md|claims\.md)#([\w-]+)\)\{\.proof\}")
HEADING = re.compile(r"^#+ (?P<title>.*?)\s*\{#(?P<anchor>[\w-]+)\}\s*$")

MEMORY = "memory"
# What the cells of a lab have many of, where it is not trials.
COUNTED = {MEMORY: "shapes", "versions": "answers"}

Test = TypeVar("Test", bound=Callable[..., None])

# The test of each claim, by permalink, as the test modules are imported.
TESTS: dict[str, Callable[..., None]] = {}


def claim(
    *,
    servers: str,
    since: str,
    client: str | None = None,
    cells: Sequence[str] = (),
    lab: str = "loss",
) -> Callable[[Test], Test]:
    """Make a test the proof of a sentence.

    Args:
        servers: The system that the sentence is about, `redis` or `kafka`.
        since: The first release of it for which the sentence is meant to be true.
        client: The library that the proof talks through, if it is not redis-py or
            kafka-python, by the name under which it is imported.
        cells: Patterns for the recorded cells that prove it, if no server does.
        lab: Whose cells these are.

    Raises:
        TypeError: The test's name or docstring makes no claim.
    """

    def mark(test: Test) -> Test:
        where = f"{inspect.getsourcefile(test)}:{test.__code__.co_firstlineno}"
        if not test.__name__.startswith(f"test_{servers}_"):
            raise TypeError(f"{where}: the claim's name must start with test_{servers}_")
        sentence = sentence_of(test)
        if not re.fullmatch(r"[A-Z`].*\.", sentence):
            raise TypeError(f"{where}: the claim's docstring must be a sentence")
        TESTS[claim_id(test.__name__)] = test
        pytest.mark.claim(
            servers=servers,
            since=since,
            client=client or servers,
            cells=tuple(cells),
            lab=lab,
        )(test)
        return test

    return mark


def sentence_of(test: Callable[..., None]) -> str:
    """Return the sentence that a claim's test proves, on one line."""
    return " ".join((test.__doc__ or "?").split())


def claim_id(test_name: str) -> str:
    """Return the permalink of a claim, such as `redis-keeps-order`."""
    return test_name.removeprefix("test_").replace("_", "-")


@dataclass(frozen=True)
class Claim:
    """What is recorded of a claim that held.

    Attributes:
        sentence: What is claimed.
        system: `redis` or `kafka`.
        since: The first release for which it is meant.
        test: The file of its test, from the root.
        server: The server that answered, and how it was had.
        client: The client library.
        date: The day of the run.
        command: What records anew the cells that prove it, if a lab has recorded them.
        trials: How many trials these are, or shapes that were measured.
        cells: The names of the cells.
        lab: Whose cells these are.
    """

    sentence: str
    system: str
    since: str
    test: str
    server: str
    client: str
    date: str
    command: str = ""
    trials: int = 0
    cells: list[str] = field(default_factory=list)
    lab: str = ""


# Where a test's report carries its claim.
HELD = "held"


def load() -> dict[str, Claim]:
    """Read what is recorded.

    Raises:
        ValueError: The file is not what a run writes.
    """
    try:
        return {
            key: Claim(**each) for key, each in json.loads(RECORD.read_text()).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        name = RECORD.relative_to(ROOT)
        raise ValueError(
            f"{name} is not a record of claims: {error}. "
            f"Restore it with `git checkout {name}`, or record it anew with "
            "`nox -s tests -- --update-examples`."
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is never seen, or left, half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def save(claims: Mapping[str, Claim]) -> None:
    """Write what is recorded, in the order of the permalinks."""
    record = {
        key: {name: value for name, value in asdict(claims[key]).items() if value}
        for key in sorted(claims)
    }
    write_whole(RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


class Recorder:
    """A plugin of pytest that records the claims that hold, and drops what failed."""

    def __init__(self) -> None:
        """Begin a run."""
        self._verdicts: dict[str, Claim | None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of one report, of this process or of one of pytest-xdist's."""
        key = claim_id(report.location[2])
        if HELD in (carried := dict[str, Any](report.user_properties)):
            self._verdicts[key] = Claim(**carried[HELD])
        if report.failed:
            self._verdicts[key] = None

    def pytest_sessionfinish(self) -> None:
        """Write the record, without the claims whose test is gone."""
        verdicts = (load() if RECORD.exists() else {}) | self._verdicts
        save({key: held for key in all_tests() if (held := verdicts.get(key))})


@dataclass(frozen=True)
class Citation:
    """A place where a page cites a claim.

    Attributes:
        page: The page's path below `docs`.
        line: The line number.
        title: The page's title, and the heading above the citation.
        anchor: That heading's anchor.
        claim: The permalink that is cited.
    """

    page: str
    line: int
    title: str
    anchor: str
    claim: str


def citations() -> list[Citation]:
    """Find all citations in the pages, in the order of the pages and their lines."""
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        if page == LEDGER:
            continue
        title = page_title = page.stem
        anchor = ""
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if heading := HEADING.match(line):
                title, anchor = heading["title"], heading["anchor"]
                if line.startswith("# "):
                    page_title = title
                else:
                    title = f"{page_title}: {title}"
            name = page.relative_to(DOCS).as_posix()
            found += [
                Citation(name, number, title, anchor, match[2])
                for match in CITATION.finditer(line)
            ]
    return found


def _recorded(each: Claim) -> list[str]:
    """Return what the ledger says of the cells that prove a claim, if these do."""
    if not each.cells:
        return []
    what = COUNTED.get(each.lab, "trials")
    links = (f"[{cell}]({each.lab}.md#{anchor(cell)})" for cell in each.cells)
    return [
        f"- Recorded in {each.trials} {what}, all of {', '.join(links)}.",
        f"- Record them again: `{each.command}`",
    ]


def render(
    claims: Mapping[str, Claim], sources: Mapping[str, str], cited: Iterable[Citation]
) -> str:
    """Write the ledger.

    Args:
        claims: What is recorded, by permalink.
        sources: The source text of each claim's test.
        cited: All citations.

    Returns:
        The page, Markdown.
    """
    places: dict[str, list[str]] = {}
    for citation in cited:
        fragment = f"#{citation.anchor}" if citation.anchor else ""
        link = f"[{citation.title}](../{citation.page}{fragment})"
        if link not in places.setdefault(citation.claim, []):
            places[citation.claim].append(link)
    page = [
        "---",
        "title: The claims",
        "description: Every sentence of this site that a test proves, with its versions.",
        "hide: [toc]",
        "search: {boost: 0.02}",
        "---",
        "",
        "<!-- Written by `nox -s tests -- --update-examples`: edit the tests. -->",
        "",
        "# The claims {#claims}",
        "",
        f"{len(claims)} sentences of this site are tests, and all of them hold.",
        "[How a claim is proven](index.md).",
    ]
    for system, title in SYSTEMS.items():
        page += ["", f"## {title} {{#{system}}}"]
        for key in (key for key in sorted(claims) if claims[key].system == system):
            each = claims[key]
            name = "test_" + key.replace("-", "_")
            page += [
                "",
                f"### {each.sentence} {{#{key}}}",
                "",
                f"- **Holds** on {each.server}, with {each.client}, on {each.date}.",
                f"- Meant for {system.capitalize()} {each.since} and later.",
                f"- Cited in {', '.join(places.get(key, ['no page yet']))}.",
                *_recorded(each),
                f"- Run it again: `nox -s tests -- {each.test} -k {name}`",
                "",
                f'??? example "The proof: `{each.test}`"',
                "",
                "    ```py",
                textwrap.indent(sources[key].rstrip(), "    "),
                "    ```",
            ]
    return "\n".join(page) + "\n"


def all_tests() -> dict[str, Callable[..., None]]:
    """Return the test of each claim, by permalink."""
    for folder in ("tests/claims", "tests/tasks"):
        for module in (ROOT / folder).glob("test_*.py"):
            importlib.import_module(f"{folder.replace('/', '.')}.{module.stem}")
    return TESTS
