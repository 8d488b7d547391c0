"""A full disk takes nothing, a lost one has nothing, and a clock can step back."""

import os
from pathlib import Path

import pytest

from snippets.labs.faults import clock
from snippets.labs.faults.clock import ClockStepsBack, FakeClock
from snippets.labs.faults.disk import FullDisk, filled, replace
from snippets.labs.faults.loop import Loop
from snippets.labs.faults.plain import Plain
from snippets.labs.loss import EVERYSEC
from snippets.labs.systems.redis import connect
from snippets.labs.workspace import Workspace


def test_a_full_disk_takes_nothing_until_there_is_room_again(
    workspace: Workspace,
) -> None:
    medium = Loop("ext4")
    if reason := FullDisk(medium).can_inject(workspace):
        assert reason == medium.obstacle() or "failed" in reason
        return
    folder = workspace.new_folder("full")
    with medium.disk("node", folder) as disk:
        file = disk.storage.folder / "file"
        free = os.statvfs(disk.storage.folder).f_bfree
        with filled(disk.storage.folder), pytest.raises(OSError, match="No space left"):
            file.write_bytes(b"x" * 100_000)
        file.write_bytes(b"x" * 100_000)
        assert os.statvfs(disk.storage.folder).f_bfree > free * 0.9


def test_a_new_disk_holds_only_what_formatting_writes(tmp_path: Path) -> None:
    data = tmp_path / "node" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("node.id=1")
    (data / "log-0").mkdir()
    replace(tmp_path / "node")
    assert [path.name for path in data.iterdir()] == ["meta.properties"]
    assert (data / "meta.properties").read_text() == "node.id=1"
    replace(tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_no_library_is_installed(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    monkeypatch.setattr(clock, "library", lambda: None)
    reason = ClockStepsBack(FakeClock(Plain(workspace.folder))).can_inject(workspace)
    assert reason
    assert "apt-get install libfaketime" in reason


def test_redis_ids_go_on_growing_when_its_clock_steps_back(workspace: Workspace) -> None:
    medium = FakeClock(Plain(workspace.folder))
    fault = ClockStepsBack(medium)
    if reason := fault.can_inject(workspace):
        assert reason == medium.obstacle()
        return
    folder = workspace.new_folder("clock")
    with EVERYSEC.run(medium, folder) as running:
        with connect(running.url) as client:
            before, _ = client.time()
            first = str(client.xadd("log", {"value": 1}))
        fault.strike(running.targets)
        assert running.bring_back() == ""
        with connect(running.url) as client:
            after, _ = client.time()
            second = str(client.xadd("log", {"value": 2}))
        assert after < before - 3000
        # It is the same millisecond still, by a clock that is to come there in an hour.
        milliseconds, _, number = first.partition("-")
        assert second == f"{milliseconds}-{int(number) + 1}"
        node = running.targets[0].node.pid
        assert running.values() == [1, 2]
    assert not list(clock.SHARED_MEMORY.glob(f"*faketime_*_{node}"))
