"""The site builds without a warning; every link and every permalink in it leads on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from tests.docs.recorded import DOCS, ROOT
from tests.ledger import HEADING, write_whole

PERMALINKS = DOCS / "data" / "permalinks.txt"
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)

# The site is built once, in one process.
pytestmark = pytest.mark.xdist_group("site")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict"),
            *("--site-dir", str(folder)),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    # `--quiet` would be shorter, and would also switch off what `--strict` counts.
    said = (built.stdout + built.stderr).splitlines()
    assert [line for line in said if not line.startswith("INFO ")] == []
    assert built.returncode == 0
    return folder


def test_every_link_and_fragment_leads_somewhere(site: Path) -> None:
    checked = subprocess.run(
        [
            *(
                str(Path(sys.executable).with_name("lychee")),
                "--offline",
                "--include-fragments",
                "--no-progress",
            ),
            *("--index-files", "index.html", "--root-dir", str(site), str(site)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"[1-9]\d* OK", checked.stdout), "no link was checked"


def test_every_section_has_an_anchor_of_its_own() -> None:
    without = []
    for page in sorted(DOCS.rglob("*.md")):
        text = FENCED.sub("", page.read_text(encoding="utf-8"))
        without += [
            f"{page.relative_to(ROOT)}: {line}"
            for line in text.splitlines()
            if re.match(r"##+ ", line) and not HEADING.match(line)
        ]
    assert without == [], "write `## Title {#title}`: a permalink outlives its title"


def test_permalinks_never_vanish(site: Path, pytestconfig: pytest.Config) -> None:
    there = set()
    for page in site.rglob("*.html"):
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        name = page.relative_to(site).as_posix().removesuffix("index.html")
        for heading in soup.select("article :is(h1, h2, h3)[id]"):
            there.add(f"{name}#{heading['id']}")
    promised = set(PERMALINKS.read_text().split()) if PERMALINKS.exists() else set()
    if pytestconfig.getoption("update_examples"):
        promised |= there
        write_whole(PERMALINKS, "".join(f"{each}\n" for each in sorted(promised)))
    assert promised - there == set(), "somebody may have linked to these: keep them"
    assert there - promised == set(), "record new ones: nox -s tests -- --update-examples"
