"""The power goes: what was not made to survive is lost, on all disks at one instant.

What was written to a disk and not synchronised is forgotten, file names included. Not
modelled are drives that lie about having written, and sectors that are torn. What a cut
does differs with its medium; see `loop` and `shim`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from snippets.labs.faults.interface import Disk, FaultError, Medium, Target
from snippets.labs.faults.process import frozen
from snippets.labs.workspace import Workspace
from snippets.servers.local.process import Process
from snippets.servers.ready import attempts

PATIENCE_S = 30.0


@dataclass(frozen=True)
class PowerCut:
    """All nodes lose power at once.

    Attributes:
        medium: What the disks of the targets are.
    """

    medium: Medium
    name = "power cut"

    def can_inject(self, workspace: Workspace) -> str | None:
        """Cut the power on a file that was written by hand; see `interface.Fault`."""
        return self.medium.obstacle() or _controls(self.medium, workspace)

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`."""
        # A node that still ran would acknowledge what its disk can no longer keep, and
        # could react to errors that the software of a dead machine never sees.
        for target in targets:
            target.node.pause()
        for target in targets:
            target.disk.cut()
        for target in targets:
            target.node.kill()
        for target in targets:
            target.disk.recover()


def settle(targets: Sequence[Target]) -> None:
    """Make all that was written until now survive a cut.

    So a cut hits the load of a trial, and not the installation of its servers.

    Raises:
        FaultError: A node can't be stopped meanwhile.
    """
    with frozen([target.node for target in targets if target.node.runs()]):
        for target in targets:
            target.disk.sync()


# Written by hand: what must survive a cut, and what must not. The last steps are the ones
# that are not synchronised, as synchronising one file may take all others with it.
PROBE = """
import os, sys, time

def synchronise(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)

def write(name, text):
    with open(name, "a") as file:
        file.write(text)

os.chdir(sys.argv[1])
os.mkdir("folder")
synchronise(".")
write("appended", "a" * 1000)
synchronise("appended")
write("folder/renamed.tmp", "a" * 1000)
synchronise("folder/renamed.tmp")
os.rename("folder/renamed.tmp", "folder/renamed")
write("folder/name-only", "")
write("folder/removed", "a" * 1000)
synchronise("folder/removed")
os.remove("folder/removed")
synchronise("folder")
write("half-renamed.tmp", "a" * 1000)
synchronise("half-renamed.tmp")
os.rename("half-renamed.tmp", "half-renamed")
write("appended", "b" * 1000)
write("never", "b" * 1000)
print("written", flush=True)
time.sleep(600)
"""


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def wrong_after_a_cut(folder: Path) -> list[str]:
    """Return in what a disk on which the probe ran is not as after a loss of power."""
    whole = "a" * 1000
    appended = _text(folder / "appended") or ""
    half_renamed = [_text(folder / f"half-renamed{end}") for end in ("", ".tmp")]
    findings = {
        "a synchronised write is lost": not appended.startswith(whole),
        "an unsynchronised append has survived": "b" in appended,
        "an unsynchronised file has survived": "b" in (_text(folder / "never") or ""),
        "a rename is lost though its folder was synchronised": (
            _text(folder / "folder" / "renamed") != whole
            or (folder / "folder" / "renamed.tmp").exists()
        ),
        "a new name is lost though its folder was synchronised": (
            not (folder / "folder" / "name-only").exists()
        ),
        "a removal is lost though its folder was synchronised": (
            (folder / "folder" / "removed").exists()
        ),
        "a rename has destroyed a synchronised file": whole not in half_renamed,
    }
    return [finding for finding, found in findings.items() if found]


@cache
def _controls(medium: Medium, workspace: Workspace) -> str | None:
    folder = workspace.new_folder("controls")
    try:
        with medium.disk("probe", folder) as disk:
            probe = _run_probe(disk, folder)
            try:
                PowerCut(medium).strike([Target(probe, disk)])
            finally:
                probe.end()
            wrong = wrong_after_a_cut(disk.storage.folder)
    except FaultError as error:
        return str(error)
    return f"the controls don't hold: {'; '.join(wrong)}" if wrong else None


def _run_probe(disk: Disk, folder: Path) -> Process:
    command = [sys.executable, "-c", PROBE, str(disk.storage.folder)]
    probe = Process("probe", command, folder, disk.storage.environment)
    probe.start()
    for _ in attempts(PATIENCE_S):
        probe.check_alive()
        if "written" in probe.logs():
            return probe
    probe.end()
    raise FaultError(f"the probe wrote nothing within {PATIENCE_S:g} s")
