"""What the pages show that a run has printed, and how two runs are made comparable."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SNIPPETS = ROOT / "snippets"
SYSTEMS = ("redis_streams", "kafka")

ENTRY_ID = re.compile(r"\b\d{13}-\d+\b")
REGION = re.compile(r"^# --8<-- \[start:(\w+)\]$", re.MULTILINE)


def task_modules() -> list[Path]:
    """Return the modules of all tasks."""
    return sorted(
        module
        for system in SYSTEMS
        for module in (SNIPPETS / system).glob("*.py")
        if module.name != "__init__.py"
    )


def regions(module: Path) -> list[str]:
    """Return the names of a module's regions, in their order."""
    return REGION.findall(module.read_text(encoding="utf-8"))


class Scrubber:
    """Replaces what differs from run to run, each value by a stand-in of its own.

    The first entry ID becomes `1700000000001-0`, the next one `1700000000002-0`: what
    was equal stays equal, what was different stays different.
    """

    def __init__(self) -> None:
        """Begin a text."""
        self._numbers: Iterator[int] = count(1_700_000_000_001)
        self._ids: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """Return the text with stand-ins."""
        return ENTRY_ID.sub(self._stand_in, text)

    def _stand_in(self, match: re.Match[str]) -> str:
        if match[0] not in self._ids:
            self._ids[match[0]] = f"{next(self._numbers)}-0"
        return self._ids[match[0]]


def pasted(module: Path, *names: str) -> str:
    """Return what a reader copies from a page: a module's imports and functions.

    Args:
        module: The module.
        names: The regions that are copied; all of them, if left out.
    """
    text = module.read_text(encoding="utf-8")
    parts = [
        text.split(f"# --8<-- [start:{name}]\n")[1].split(f"# --8<-- [end:{name}]\n")[0]
        for name in names or regions(module)
    ]
    return "\n\n".join(part.strip("\n") + "\n" for part in parts)
