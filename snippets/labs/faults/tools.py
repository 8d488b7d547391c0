"""The machine's own tools, with which some faults are made."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from snippets.labs.faults.interface import FaultError

SYSTEM_PATH = os.pathsep.join(["/usr/sbin", "/sbin"])


def _path() -> str:
    # Who is root without a login has no `sbin` in the search path.
    return os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH])


def missing(packages: Mapping[str, str]) -> str | None:
    """Return which tool is not installed, and how to get it; None if all are.

    Args:
        packages: The package of each tool on Debian and Ubuntu, by the tool's name.
    """
    for tool, package in packages.items():
        if shutil.which(tool, path=_path()) is None:
            return (
                f"{tool} is not installed (Debian and Ubuntu: "
                f"`apt-get install {package}`)"
            )
    return None


def run(*command: str | Path, told: str = "") -> None:
    """Run a tool to its end.

    Args:
        command: The tool and its arguments.
        told: What it reads from its standard input.

    Raises:
        FaultError: It fails.
    """
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": _path()},
        input=told,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        # A record shows it on one line, without the folders of this machine.
        said = " ".join(done.stderr.split())
        for argument in command[1:]:
            said = said.replace(str(argument), Path(argument).name)
        raise FaultError(f"`{command[0]}` failed: {said}")
