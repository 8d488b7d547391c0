"""What a page says of itself is true: its reading time, and its last update."""

import datetime as dt
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.recorded import DOCS, ROOT
from tests.ledger import LEDGER, write_whole

WORDS_PER_MINUTE = 230
FRONT_MATTER = re.compile(r"\A---\n(?P<meta>.*?)\n---\n(?P<body>.*)\Z", re.DOTALL)
NOT_READ = re.compile(r"```.*?```|<!--.*?-->|\]\([^)]*\)|\{[#.:][^}]*\}", re.DOTALL)
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page != LEDGER]


def split(page: Path) -> tuple[dict[str, Any], str]:
    """Return a page's front matter and its body."""
    found = FRONT_MATTER.match(page.read_text(encoding="utf-8"))
    assert found, f"{page.relative_to(ROOT)} has no front matter"
    return yaml.safe_load(found["meta"]), found["body"]


def minutes(body: str) -> int:
    """Return how long a page takes to read, without its code."""
    words = len(NOT_READ.sub(" ", body).split())
    return max(1, round(words / WORDS_PER_MINUTE))


def last_change(page: Path) -> dt.date | None:
    """Return the day of a page's last change; None if that is not committed yet."""
    name = page.relative_to(ROOT).as_posix()

    def git(*arguments: str) -> str:
        command = ["git", *arguments, "--", name]
        return subprocess.check_output(command, cwd=ROOT, text=True).strip()

    if git("status", "--porcelain"):
        return dt.datetime.now(tz=dt.UTC).date()
    committed = git("log", "-1", "--format=%as")
    return dt.date.fromisoformat(committed) if committed else None


def set_value(page: Path, key: str, value: object) -> None:
    """Replace one value of a page's front matter."""
    text = page.read_text(encoding="utf-8")
    write_whole(page, re.sub(rf"(?m)^{key}: .*$", f"{key}: {value}", text, count=1))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_page_says_what_it_is_about(page: Path) -> None:
    meta, _ = split(page)
    assert meta.get("title")
    assert 20 < len(str(meta.get("description", ""))) <= 160


def test_reading_time_is_that_of_the_text(pytestconfig: pytest.Config) -> None:
    article = DOCS / "index.md"
    meta, body = split(article)
    if pytestconfig.getoption("update_examples"):
        set_value(article, "reading_minutes", minutes(body))
        meta, _ = split(article)
    assert meta["reading_minutes"] == minutes(body)


def test_last_update_is_not_older_than_the_last_change(
    pytestconfig: pytest.Config,
) -> None:
    shallow = subprocess.check_output(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, text=True
    )
    assert shallow.strip() == "false", (
        "the history is cut off, so that no page's last change can be known: "
        "run `git fetch --unshallow`"
    )
    article = DOCS / "index.md"
    changed = last_change(article)
    assert changed, "docs/index.md is in no commit"
    if pytestconfig.getoption("update_examples"):
        set_value(article, "updated", changed)
    assert split(article)[0]["updated"] >= changed, (
        "docs/index.md has changed since its `updated`: set it to today"
    )
