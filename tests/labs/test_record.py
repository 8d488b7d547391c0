"""A record is whole or absent; a file that is none is refused with the reason."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from snippets.labs import host, record
from snippets.labs.record import Cell, Lab, RecordError, TimeLine, Trial, Void

TRIAL = Trial(
    seed=7,
    load_s=2.0,
    acknowledged=900,
    lost=3,
    oldest_lost_ms=12.5,
    unacknowledged=1,
    duplicated=0,
    reordered=0,
    phantom=0,
    unavailable_s=0.4,
    group="kept",
    redelivered=0,
    forgotten=0,
    never_delivered=0,
)
CELL = Cell(
    system="redis",
    configuration="everysec",
    settings={"appendonly": "yes"},
    guarantee="written",
    fault="power cut",
    backend="ext4",
    file_system="ext4",
    rate=500,
    command="nox -s labs -- loss",
    versions={"Redis": "8.10.2"},
    host=host.describe(),
    date="2026-11-24",
    seed=1,
    trials=[TRIAL],
    void=[Void(seed=8, reason="no port")],
)
LAB = Lab(
    question="What is lost?",
    command="nox -s labs -- loss",
    controls={"ext4": "held"},
    cells={"b": CELL, "a": CELL},
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    record.save(path, LAB)
    assert record.load(path) == LAB
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_is_sorted_and_ends_with_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    record.save(path, LAB)
    text = path.read_text()
    assert list(json.loads(text)["cells"]) == ["a", "b"]
    assert text.endswith("}\n")


LINE = TimeLine(
    step_ms=100, before=1, attempted="5 5", unacknowledged="0 5", acknowledged="5 0"
)


def test_a_time_line_is_kept_on_one_line_for_each_count(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    shown = msgspec.structs.replace(TRIAL, time_line=LINE)
    lab = msgspec.structs.replace(
        LAB, cells={"a": msgspec.structs.replace(CELL, trials=[shown])}
    )
    record.save(path, lab)
    assert record.load(path) == lab
    assert '"attempted": "5 5",\n' in path.read_text()


def test_a_record_without_a_time_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    record.save(path, LAB)
    assert "time_line" not in path.read_text()
    found = record.load(path)
    assert found
    assert found.cells["a"].trials[0].time_line is None


def test_no_record_is_none(tmp_path: Path) -> None:
    assert record.load(tmp_path / "loss.json") is None


def without_seed(lab: dict[str, Any]) -> None:
    del lab["cells"]["a"]["trials"][0]["seed"]


def with_negative_loss(lab: dict[str, Any]) -> None:
    lab["cells"]["a"]["trials"][0]["lost"] = -1


def with_text_for_a_number(lab: dict[str, Any]) -> None:
    lab["cells"]["a"]["trials"][0]["acknowledged"] = "many"


def with_a_broken_time_line(lab: dict[str, Any]) -> None:
    broken = {**msgspec.to_builtins(LINE), "attempted": "5 -5"}
    lab["cells"]["a"]["trials"][0]["time_line"] = broken


def with_a_misspelled_field(lab: dict[str, Any]) -> None:
    lab["cels"] = lab.pop("cells")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (without_seed, "missing required field `seed` - at `$.cells[...].trials[0]`"),
        (with_negative_loss, "Expected `int` >= 0 - at `$.cells[...].trials[0].lost`"),
        (with_text_for_a_number, "Expected `int`, got `str`"),
        (with_a_broken_time_line, "Expected `str` matching regex"),
        (with_a_misspelled_field, "unknown field `cels`"),
    ],
)
def test_a_record_that_lacks_something_is_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], problem: str
) -> None:
    path = tmp_path / "loss.json"
    lab = json.loads(msgspec.json.encode(LAB))
    spoil(lab)
    path.write_text(json.dumps(lab))
    with pytest.raises(RecordError) as refused:
        record.load(path)
    assert str(path) in str(refused.value)
    assert problem in str(refused.value)


@pytest.mark.parametrize("length", [0, 1, 40, -2])
def test_a_half_written_record_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "loss.json"
    record.save(path, LAB)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RecordError, match="run the lab again"):
        record.load(path)


WRITE_FOR_EVER = """
import sys
from pathlib import Path
from tests.labs.test_record import LAB
from snippets.labs import record
record.save(Path(sys.argv[1]), LAB)
print("written", flush=True)
while True:
    record.save(Path(sys.argv[1]), LAB)
"""


def test_a_writer_that_is_killed_leaves_a_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(path)],
            cwd=record.ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
        ) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == b"written\n"
            writer.send_signal(signal.SIGKILL)
        assert record.load(path) == LAB
