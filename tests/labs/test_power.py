"""A power cut forgets what was not synchronised, and nothing else, on every medium."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from snippets.labs.faults.interface import Disk, FaultError, Medium, Target
from snippets.labs.faults.loop import Loop
from snippets.labs.faults.plain import Plain
from snippets.labs.faults.power import PowerCut, settle
from snippets.labs.faults.shim import Shim
from snippets.labs.record import ROOT
from snippets.labs.workspace import Workspace
from snippets.servers.local.process import Process, Storage
from snippets.servers.ready import attempts

MEDIA: list[Medium] = [Loop("ext4"), Loop("xfs"), Shim()]


@dataclass(frozen=True)
class Careless:
    """A disk that forgets too much or too little."""

    storage: Storage
    forgets: bool

    def sync(self) -> None:
        """Do nothing."""

    def cut(self) -> None:
        """Do nothing."""

    def recover(self) -> None:
        """Lose all, or nothing."""
        if self.forgets:
            shutil.rmtree(self.storage.folder)
            self.storage.folder.mkdir()


@dataclass(frozen=True)
class CarelessMedium:
    """A medium of such disks."""

    forgets: bool
    name = "careless"
    file_system = "none"

    def obstacle(self) -> str | None:
        """Claim that it works."""
        return None

    @contextmanager
    def disk(self, name: str, folder: Path) -> Iterator[Careless]:
        """Make one."""
        (folder / name).mkdir()
        yield Careless(Storage(folder / name), self.forgets)


@pytest.mark.parametrize("medium", MEDIA, ids=lambda medium: medium.name)
def test_the_controls_hold_or_it_says_what_is_missing(
    medium: Medium, workspace: Workspace
) -> None:
    missing = medium.obstacle()
    found = PowerCut(medium).can_inject(workspace)
    if missing is None and (may_mount() or medium.name == "shim"):
        assert found is None
    else:
        assert found, "it neither works nor says why"


def may(capability: int) -> bool:
    """Tell whether this process has a capability, by its number in Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return False
    capabilities = status.read_text().partition("CapEff:")[2].split()[0]
    return bool(int(capabilities, 16) >> capability & 1)


def may_mount() -> bool:
    """Tell whether this process has the capability CAP_SYS_ADMIN."""
    return may(21)


@pytest.mark.parametrize(
    ("forgets", "finding"),
    [
        (True, "a synchronised write is lost"),
        (False, "an unsynchronised append has survived"),
    ],
)
def test_the_controls_find_a_medium_that_does_not_work(
    forgets: bool,  # noqa: FBT001
    finding: str,
    workspace: Workspace,
) -> None:
    found = PowerCut(CarelessMedium(forgets)).can_inject(workspace)
    assert found
    assert found.startswith("the controls don't hold: ")
    assert finding in found


def test_without_root_a_disk_can_not_be_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    missing = Loop("ext4").obstacle()
    assert missing
    assert "sudo" in missing


def test_a_file_system_whose_tools_are_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    missing = Loop("xfs").obstacle()
    assert missing
    assert "apt-get install xfsprogs" in missing
    missing = Shim().obstacle()
    assert missing
    assert "apt-get install gcc" in missing


TELL = """
from snippets.labs.faults.loop import Loop
from snippets.labs.faults.power import PowerCut
from snippets.labs.faults.shim import Shim
from snippets.labs.workspace import workspace

with workspace() as made:
    for medium in (Loop("ext4"), Shim()):
        print(PowerCut(medium).can_inject(made))
"""


def test_where_root_has_no_capabilities_as_in_a_container() -> None:
    """The disk is refused with the reason; the shim needs no privilege."""
    bare = ["setpriv", "--bounding-set=-all"] if may_mount() else []
    done = subprocess.run(
        [*bare, sys.executable, "-c", TELL],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    disk, shim = done.stdout.splitlines()
    assert disk.startswith("`mount` failed: ") or disk == Loop("ext4").obstacle()
    assert shim == str(Shim().obstacle())


@pytest.fixture(params=MEDIA, ids=lambda medium: medium.name)
def medium(request: pytest.FixtureRequest, workspace: Workspace) -> Medium | None:
    """Each medium; None where `can_inject` has said why it can't be had."""
    found: Medium = request.param
    reason = PowerCut(found).can_inject(workspace)
    if reason is None:
        return found
    assert reason == found.obstacle() or "failed" in reason
    return None


APPEND = """
import os, sys
os.chdir(sys.argv[1])
log = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for line in sys.stdin:
    text, _, how = line.strip().partition(" ")
    os.write(log, text.encode() * 5000)
    if how == "sync":
        os.fdatasync(log)
    print("done", flush=True)
"""


class Appender(Process):
    """A node that appends what it is told to."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        """Take note of where it writes."""
        self.orders = folder / "orders"
        os.mkfifo(self.orders)
        shell = f'exec "$0" -c "$1" "$2" < {self.orders}'
        command = ["sh", "-c", shell, sys.executable, APPEND, str(disk.storage.folder)]
        super().__init__("appender", command, folder, disk.storage.environment)

    def append(self, *orders: str) -> None:
        """Start, carry out the orders, and go on running."""
        before = self.logs().count("done")
        self.start()
        self._pipe = self.orders.open("w")
        self._pipe.write("".join(f"{order}\n" for order in orders))
        self._pipe.flush()
        for _ in attempts(30):
            self.check_alive()
            if self.logs().count("done") == before + len(orders):
                return
        pytest.fail("it did not append in time")

    def end(self) -> None:
        """End it, and close the pipe to it."""
        super().end()
        self._pipe.close()


def text_after(
    medium: Medium, workspace: Workspace, *rounds: tuple[list[str], bool]
) -> str:
    """Append, settle or not, and cut the power, round by round; return what is left."""
    folder = workspace.new_folder("appender")
    with medium.disk("appender", folder) as disk:
        node = Appender(disk, folder)
        for orders, settled in rounds:
            target = Target(node, disk)
            node.append(*orders)
            if settled:
                settle([target])
            PowerCut(medium).strike([target])
            node.end()
        log = disk.storage.folder / "log"
        return "".join(dict.fromkeys(log.read_text())) if log.exists() else ""


def test_a_log_keeps_what_was_synchronised(
    medium: Medium | None, workspace: Workspace
) -> None:
    if medium:
        # 5000 bytes a letter: what is kept begins and ends within blocks, and the log
        # grows beyond what the shim copies whole.
        orders = [f"{letter} sync" for letter in "abcdefghijklmnopqrst"]
        assert text_after(medium, workspace, ([*orders, "x", "y"], False)) == (
            "abcdefghijklmnopqrst"
        )


def test_what_is_settled_survives_and_a_second_cut_takes_what_came_after(
    medium: Medium | None, workspace: Workspace
) -> None:
    if medium:
        rounds = [(["a"], True), (["b", "c sync", "d"], False), (["e sync", "f"], False)]
        assert text_after(medium, workspace, *rounds) == "abce"


def test_nothing_survives_where_nothing_was_synchronised(
    medium: Medium | None, workspace: Workspace
) -> None:
    if medium:
        assert text_after(medium, workspace, (["a", "b"], False)) == ""


def test_a_plain_folder_refuses_a_cut(workspace: Workspace) -> None:
    folder = workspace.new_folder("plain")
    plain = Plain(workspace.folder)
    assert plain.file_system
    with plain.disk("node", folder) as disk:
        for attempt in (disk.cut, disk.recover):
            with pytest.raises(FaultError, match="plain folder"):
                attempt()


def test_a_frozen_process_stands_still(workspace: Workspace) -> None:
    folder = workspace.new_folder("busy")
    count = "import itertools\nfor n in itertools.count(): print(n, flush=True)"
    node = Process("busy", [sys.executable, "-c", count], folder)
    node.start()
    try:
        for _ in attempts(30):
            if node.logs():
                break
        node.pause()
        before = node.logs()
        assert all(node.logs() == before for _ in attempts(0.2))
        node.resume()
        assert any(node.logs() != before for _ in attempts(30))
    finally:
        node.end()
