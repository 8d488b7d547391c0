"""Nothing of a run that was killed is left after the next one has started."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from snippets.labs.faults.loop import Loop
from snippets.labs.faults.netns import BRIDGE, INTERFACE, PORT
from snippets.labs.faults.power import PowerCut
from snippets.labs.record import ROOT
from snippets.labs.workspace import Workspace, mounts_below, sweep, workspace
from snippets.servers.guard import lives
from snippets.servers.ready import attempts
from tests.labs.test_packets import works

RUN = """
import os, signal, sys, time
from contextlib import ExitStack
# What a shell runs in the background ignores Ctrl-C, and so would we.
signal.signal(signal.SIGINT, signal.default_int_handler)
from snippets.labs.faults.loop import Loop
from snippets.labs.faults.netns import network
from snippets.labs.faults.plain import Plain
from snippets.labs.workspace import workspace
from snippets.servers import local
from snippets.servers.interface import Custom
from snippets.servers.local.process import loopback
with workspace() as made, ExitStack() as stack:
    medium = Loop("ext4") if sys.argv[1] == "ext4" else Plain(made.folder)
    disk = stack.enter_context(medium.disk("redis-1", made.new_folder("trial")))
    net = stack.enter_context(network()) if sys.argv[1] == "netns" else None
    custom = Custom({"protected-mode": "no"})
    redis = stack.enter_context(local.redis(
        replicas=0,
        custom=custom,
        storage=lambda _: disk.storage,
        host=net.host if net else loopback,
    ))
    spaces = [net.bridge, *(each for _, each in net.hosts.values())] if net else []
    found = [os.readlink(each.path) for each in spaces]
    print(made.folder, redis.nodes[0].pid, *found, flush=True)
    time.sleep(600)
"""


def loop_devices(folder: Path) -> Sequence[str]:
    """Return what images of a folder are attached to a loop device."""
    attached = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        # Another test's device may go while we look.
        with contextlib.suppress(OSError):
            attached.append(backing.read_text())
    return [each for each in attached if str(folder) in each]


def in_use(namespaces: set[str]) -> set[str]:
    """Return in which network namespaces a process is, or has an open file of them."""
    held = set()
    for process in Path("/proc").glob("[0-9]*"):
        # Processes come and go while we look, and so do their files.
        with contextlib.suppress(OSError):
            for link in (process / "ns" / "net", *(process / "fd").iterdir()):
                with contextlib.suppress(OSError):
                    held.add(str(link.readlink()))
    return namespaces & held


def kill_guard(pid: int) -> None:
    """Kill the guard of a run too, so that only the next run can clean up."""
    (guard,) = (
        each
        for each in psutil.Process(pid).children()
        if "snippets.servers.guard" in each.cmdline()
    )
    guard.kill()


def works_here(name: str, workspace: Workspace) -> bool:
    """Tell whether a run can have what it is to leave; else it says why."""
    if name == "netns":
        return works(workspace)
    medium = Loop("ext4")
    reason = PowerCut(medium).can_inject(workspace) if name == "ext4" else None
    assert reason is None or medium.obstacle() or "failed" in reason
    return reason is None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("name", ["ext4", "plain", "netns"])
def test_a_run_that_ended_in_the_middle_is_swept_up(
    name: str, how: signal.Signals, workspace: Workspace
) -> None:
    if not works_here(name, workspace):
        return
    with subprocess.Popen(
        [sys.executable, "-c", RUN, name],
        cwd=ROOT,
        env={**os.environ, "SERVERS": "local"},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout
        words = run.stdout.readline().split()
        assert words, "it ended by itself"
        folder, server = Path(words[0]), psutil.Process(int(words[1]))
        spaces = set(words[2:])
        # Its own, in which clients are, and that of the server.
        assert len(spaces) == len(in_use(spaces)) == (2 if name == "netns" else 0)
        # The machine's own network has nothing of it.
        assert not {BRIDGE, INTERFACE, f"{PORT}1"} & psutil.net_if_stats().keys()
        assert folder not in sweep(), "it takes a living run for a dead one"
        assert len(mounts_below(folder)) == len(loop_devices(folder)) == (name == "ext4")
        if how is signal.SIGKILL:
            kill_guard(run.pid)
        run.send_signal(how)
    # Another run that starts meanwhile may have swept it up already.
    sweep()
    assert not lives(server)
    assert not folder.exists()
    assert not mounts_below(folder)
    # Where nothing holds a namespace, it is gone with its interfaces.
    assert not in_use(spaces)
    # A device goes with its last user; whoever looks for a free one opens each.
    assert any(not loop_devices(folder) for _ in attempts(30))
    assert not list(folder.parent.glob(f"{folder.name}*"))


def test_a_workspace_is_gone_after_its_block() -> None:
    with workspace() as made:
        assert made.new_folder("trial").is_dir()
        assert made.folder not in sweep()
    assert not made.folder.exists()
    assert not list(made.folder.parent.glob(f"{made.folder.name}*"))
