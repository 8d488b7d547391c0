"""Pages only include code; tasks come in pairs; everything written is shown."""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.recorded import (
    DOCS,
    ROOT,
    SNIPPETS,
    SYSTEMS,
    pasted,
    regions,
    task_modules,
)
from tests.ledger import LEDGER

PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page != LEDGER]
FENCE = re.compile(
    r"^( *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^\1```$", re.MULTILINE | re.DOTALL
)
BLOCK_LINE = re.compile(r"(?P<file>[\w/]+\.\w+)(?::(?P<region>\w+))?")
SINGLE = re.compile(rf'--8<-- "{BLOCK_LINE.pattern}"')
PYTHON = ("py", "python", "py3", "pycon")
IMPORTS = "imports"

# The pages beside those of the tasks.
OVERVIEWS = {"index", "names", "cheat_sheet"}
TASK_LINK = re.compile(r"\[[^]]+\]\((?P<task>\w+)\.md\)")


class Include(NamedTuple):
    """What a page includes: a file, or a region of it."""

    file: str
    region: str | None


def includes(text: str) -> tuple[list[Include], list[str]]:
    """Split a page, or a fence of it, into its includes and its other lines.

    Several includes in a row stand between two lines `--8<--`.
    """
    found, other = [], []
    in_block = False
    for line in map(str.strip, text.splitlines()):
        match = (BLOCK_LINE if in_block else SINGLE).fullmatch(line)
        if line == "--8<--":
            in_block = not in_block
        elif match:
            found.append(Include(match["file"], match["region"]))
        elif line:
            other.append(line)
    return found, other


def page_name(page: Path) -> str:
    """Return the page's path below `docs`."""
    return page.relative_to(DOCS).as_posix()


def text_of(page: Path) -> str:
    """Return a page's Markdown."""
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_page_shows_python_only_by_including_it(page: Path) -> None:
    text = text_of(page)
    pasted = [
        f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, fence.start()) + 1}"
        for fence in FENCE.finditer(text)
        if fence["info"].split()[:1] and fence["info"].split()[0].strip("{.}") in PYTHON
        if includes(fence["body"])[1]
    ]
    assert pasted == [], "move this code into snippets/ and include a region of it"


def test_tasks_come_in_pairs() -> None:
    stems = {
        **{
            f"snippets/{system}": {
                p.stem for p in task_modules() if p.parent.name == system
            }
            for system in SYSTEMS
        },
        "docs/tasks": {p.stem for p in (DOCS / "tasks").glob("*.md")} - OVERVIEWS,
        "tests/tasks": {
            p.stem.removeprefix("test_") for p in (ROOT / "tests/tasks").glob("test_*.py")
        },
    }
    every = set().union(*stems.values())
    missing = {folder: every - found for folder, found in stems.items() if every - found}
    assert missing == {}


def rows(page: str) -> list[list[str]]:
    """Return the cells of all table rows of a page about tasks, without the heads."""
    lines = text_of(DOCS / "tasks" / f"{page}.md").splitlines()
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("| ---")}
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for number, line in enumerate(lines)
        if re.match(r"\| (?!---)", line) and number not in heads
    ]


def test_the_table_of_tasks_answers_for_each_in_both_systems() -> None:
    table = rows("index")
    found = [TASK_LINK.fullmatch(row[0]) for row in table]
    listed = [match["task"] for match in found if match]
    assert sorted(listed) == sorted({module.stem for module in task_modules()})
    assert [row for row in table if len(row) != 3 or not all(row)] == []


@pytest.mark.parametrize(("page", "column"), [("names", -1), ("cheat_sheet", 0)])
def test_every_row_leads_to_a_task_and_no_task_is_missing(page: str, column: int) -> None:
    table = rows(page)
    found = [TASK_LINK.fullmatch(row[column]) for row in table]
    assert [row for row, match in zip(table, found, strict=True) if not match] == []
    tasks = {module.stem for module in task_modules()}
    assert {match["task"] for match in found if match} == tasks


@pytest.mark.parametrize(
    "stem", sorted({module.stem for module in task_modules()}), ids=str
)
def test_both_modules_of_a_task_have_the_same_regions(stem: str) -> None:
    redis_streams, kafka = (regions(SNIPPETS / each / f"{stem}.py") for each in SYSTEMS)
    assert redis_streams == kafka
    assert redis_streams[:1] == [IMPORTS]
    assert len(redis_streams) > 1, "a task shows its imports and at least one function"


def test_every_region_and_every_transcript_is_shown() -> None:
    shown = {include for page in PAGES for include in includes(text_of(page))[0]}
    made = set()
    for module in task_modules():
        name = module.relative_to(SNIPPETS)
        made |= {Include(name.as_posix(), region) for region in regions(module)}
        made.add(Include(name.with_suffix(".txt").as_posix(), None))
    assert made - shown == set()


@pytest.mark.parametrize("module", task_modules(), ids=lambda module: module.name)
def test_each_function_shown_needs_only_the_imports_and_what_it_calls(
    module: Path,
) -> None:
    names = set(regions(module)) - {IMPORTS}
    for name in names:
        alone = pasted(module, IMPORTS, name)
        called = {each for each in names - {name} if re.search(rf"\b{each}\(", alone)}
        whole = pasted(module, IMPORTS, *called, name)
        exec(whole, {})  # noqa: S102
        checked = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F821", "-"],
            input=whole,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, f"{name}: {checked.stdout}"


def test_every_region_is_a_function_of_its_name() -> None:
    wrong = []
    for module in task_modules():
        text = module.read_text(encoding="utf-8")
        for name in set(regions(module)) - {IMPORTS}:
            whole = re.compile(
                rf"^# --8<-- \[start:{name}\]\n(async )?def {name}\(.*?\n\n\n"
                rf"# --8<-- \[end:{name}\]$",
                re.MULTILINE | re.DOTALL,
            )
            if not whole.search(text):
                wrong.append(f"{module.relative_to(ROOT)}: {name}")
    assert wrong == []
