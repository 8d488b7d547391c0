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

from snippets.labs.faults.interface import Medium
from snippets.labs.faults.loop import Loop
from snippets.labs.faults.plain import Plain
from snippets.labs.faults.power import PowerCut
from snippets.labs.record import ROOT
from snippets.labs.workspace import Workspace, mounts_below, sweep, workspace
from snippets.servers.guard import lives
from snippets.servers.ready import attempts

RUN = """
import signal, sys, time
# What a shell runs in the background ignores Ctrl-C, and so would we.
signal.signal(signal.SIGINT, signal.default_int_handler)
from snippets.labs.faults.loop import Loop
from snippets.labs.faults.plain import Plain
from snippets.labs.workspace import workspace
from snippets.servers import local
from snippets.servers.interface import Custom
with workspace() as made:
    medium = Loop("ext4") if sys.argv[1] == "ext4" else Plain(made.folder)
    with medium.disk("redis-1", made.new_folder("trial")) as disk:
        with local.redis(
            replicas=0, custom=Custom({}), storage=lambda _: disk.storage
        ) as redis:
            print(made.folder, redis.nodes[0].pid, flush=True)
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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("name", ["ext4", "plain"])
def test_a_run_that_ended_in_the_middle_is_swept_up(
    name: str, how: signal.Signals, workspace: Workspace
) -> None:
    medium: Medium = Loop("ext4") if name == "ext4" else Plain(workspace.folder)
    reason = PowerCut(medium).can_inject(workspace) if name == "ext4" else None
    if reason:
        assert medium.obstacle() or "failed" in reason
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
        assert folder not in sweep(), "it takes a living run for a dead one"
        assert len(mounts_below(folder)) == len(loop_devices(folder)) == (name == "ext4")
        run.send_signal(how)
    # Another run that starts meanwhile may have swept it up already.
    sweep()
    assert not lives(server)
    assert not folder.exists()
    assert not mounts_below(folder)
    # A device goes with its last user; whoever looks for a free one opens each.
    assert any(not loop_devices(folder) for _ in attempts(30))
    assert not list(folder.parent.glob(f"{folder.name}*"))


def test_a_workspace_is_gone_after_its_block() -> None:
    with workspace() as made:
        assert made.new_folder("trial").is_dir()
        assert made.folder not in sweep()
    assert not made.folder.exists()
    assert not list(made.folder.parent.glob(f"{made.folder.name}*"))
