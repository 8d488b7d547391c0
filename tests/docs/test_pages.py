"""Pages only include code; tasks come in pairs; everything written is shown."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.recorded import DOCS, ROOT, SNIPPETS, SYSTEMS, regions, task_modules
from tests.ledger import LEDGER

PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page != LEDGER]
FENCE = re.compile(
    r"^( *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^\1```$", re.MULTILINE | re.DOTALL
)
BLOCK_LINE = re.compile(r"(?P<file>[\w/]+\.\w+)(?::(?P<region>\w+))?")
SINGLE = re.compile(rf'--8<-- "{BLOCK_LINE.pattern}"')
PYTHON = ("py", "python", "py3", "pycon")
IMPORTS = "imports"


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
        "docs/tasks": {p.stem for p in (DOCS / "tasks").glob("*.md")} - {"index"},
        "tests/tasks": {
            p.stem.removeprefix("test_") for p in (ROOT / "tests/tasks").glob("test_*.py")
        },
    }
    every = set().union(*stems.values())
    missing = {folder: every - found for folder, found in stems.items() if every - found}
    assert missing == {}


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
