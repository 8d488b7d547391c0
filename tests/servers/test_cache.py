"""A cached folder is whole or absent."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from snippets.servers import cache


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(cache, "root", lambda: tmp_path)
    return tmp_path


def test_a_folder_is_made_once(root: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "made").touch(exist_ok=False)

    assert cache.cached("thing", make) == cache.cached("thing", make) == root / "thing"
    assert (root / "thing" / "made").exists()


def test_what_fails_leaves_no_folder_and_the_next_run_makes_it(root: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError):
        cache.cached("thing", fail)
    assert not (root / "thing").exists()
    folder = cache.cached("thing", lambda folder: (folder / "whole").touch())
    assert [each.name for each in folder.iterdir()] == ["whole"]


def _die_half_way(root: Path) -> None:
    cache.root = lambda: root

    def die(folder: Path) -> None:
        (folder / "half").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    cache.cached("thing", die)


def _count(root: Path) -> None:
    cache.root = lambda: root

    def make(folder: Path) -> None:
        with (root / "counted").open("a") as counted:
            counted.write("made\n")
        (folder / "whole").touch()

    cache.cached("thing", make)


def _run(
    target: Callable[[Path], None], root: Path
) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=(root,))
    process.start()
    return process


def test_a_build_that_was_killed_is_repaired_by_the_next_run(root: Path) -> None:
    process = _run(_die_half_way, root)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (root / "thing").exists()
    folder = cache.cached("thing", lambda folder: (folder / "whole").touch())
    assert [each.name for each in folder.iterdir()] == ["whole"]


def test_two_runs_at_once_build_once(root: Path) -> None:
    processes = [_run(_count, root) for _ in range(3)]
    for process in processes:
        process.join()
    assert (root / "counted").read_text() == "made\n"
