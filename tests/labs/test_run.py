"""A lab records whole cells, goes on after the last one, and counts what is void."""

import io
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from rich.console import Console

from snippets.labs import checkers, history, loss, record
from snippets.labs.faults.interface import Medium, Target
from snippets.labs.faults.plain import Plain
from snippets.labs.faults.process import Kill
from snippets.labs.plan import Expectation, LabPlan, PlannedCell
from snippets.labs.record import ROOT, Lab
from snippets.labs.run import problems, run_lab, summary
from snippets.labs.systems.redis import RunningRedis
from snippets.labs.trial import Plan, group_state
from snippets.labs.workspace import Workspace
from snippets.labs.workspace import workspace as new_workspace
from snippets.servers.cache import root
from snippets.servers.ready import attempts
from tests.labs.test_power import may_mount

SHORT = Plan(rate=500, load_s=(0.2, 0.3))


@dataclass(frozen=True)
class Impossible:
    """A fault that can't be injected anywhere."""

    name: str = "impossible"

    def can_inject(self, workspace: Workspace) -> str | None:
        """Say why."""
        return f"there is nothing like it in {workspace.folder.parent.name}"

    def strike(self, targets: Sequence[Target]) -> None:
        """Fail, as nobody may call this."""
        raise AssertionError(targets)


@dataclass(frozen=True)
class Failing:
    """A configuration whose harness fails."""

    name: str = "failing"
    system: str = "redis"
    guarantee: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """None."""
        return {}

    def run(self, medium: Medium, folder: Path) -> AbstractContextManager[RunningRedis]:
        """Fail."""
        raise RuntimeError(f"no port in {folder.parent}\n{medium}")


def cell(**changes: object) -> PlannedCell:
    """Plan a short cell."""
    plain = PlannedCell(loss.EVERYSEC, Kill(), Plain(root()), "", SHORT, 1, 1.0)
    return replace(plain, **changes)  # type: ignore[arg-type]


def run(
    path: Path | None, *cells: PlannedCell, anew: bool = False, seed: int = 1
) -> tuple[Lab, list[str], str]:
    """Run cells; return what is recorded, what is wrong, and what was shown."""
    plan = LabPlan("test", "What is lost?", cells, loss.EXPECTATIONS)
    shown = io.StringIO()
    console = Console(file=shown, width=250)
    with new_workspace() as place:
        found = run_lab(
            plan, path, seed=seed, anew=lambda _: anew, place=place, console=console
        )
    return found, problems(plan, found), shown.getvalue()


def test_a_cell_says_all_that_it_depends_on(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    found, wrong, shown = run(path, cell(system=loss.ALWAYS))
    assert wrong == []
    assert record.load(path) == found
    made = found.cells["redis/aof-always/sigkill"]
    (trial,) = made.trials
    assert trial.acknowledged > 0
    assert trial.lost == trial.phantom == trial.never_delivered == 0
    assert trial.group == "kept"
    assert made.settings["appendfsync"] == "always"
    assert made.versions["Redis"]
    assert made.file_system
    assert made.host.system
    assert made.command == "nox -s labs -- test --cell redis/aof-always/sigkill"
    assert "redis/aof-always/sigkill: acknowledged" in shown


def test_what_is_recorded_is_not_run_again_unless_something_differs(
    tmp_path: Path,
) -> None:
    path = tmp_path / "test.json"
    first, _, _ = run(path, cell())
    again, _, _ = run(path, cell())
    assert again == first
    for changed in (
        run(path, cell(), anew=True)[0],
        run(path, cell(), seed=2)[0],
        run(path, cell(plan=replace(SHORT, rate=400)))[0],
        run(path, cell(trials=2))[0],
    ):
        assert changed != first
        first = changed
    more, _, _ = run(path, cell(system=loss.ALWAYS))
    assert len(more.cells) == 2


def test_the_histories_of_trials_are_kept_if_asked_for(tmp_path: Path) -> None:
    record_file, kept = tmp_path / "test.json", tmp_path / "histories"
    options = (
        "--quick",
        "--cell",
        "redis/aof-everysec/sigkill",
        "--histories",
        str(kept),
    )
    for _ in range(2):
        with start("loss", *options, "--record", str(record_file)) as lab:
            told, _ = lab.communicate()
        assert lab.returncode == 0, told
        (file,) = kept.iterdir()
        recorded = record.load(record_file)
        assert recorded
        ((name, made),) = recorded.cells.items()
        (trial,) = made.trials
        assert file.name == f"{name.replace('/', '-')}-{trial.seed}.jsonl"
        found = history.read(file)
        over = checkers.fault_over_at(found) or 0
        times = checkers.acknowledged(found).values()
        assert trial.acknowledged == sum(time < over for time in times) > 0


def test_a_trial_whose_harness_failed_is_void_and_not_zero() -> None:
    found, wrong, shown = run(None, cell(system=Failing(), trials=2))
    (made,) = found.cells.values()
    assert made.trials == []
    assert [each.reason for each in made.void] == ["RuntimeError: no port in labs"] * 2
    assert len({each.seed for each in made.void}) == 2
    assert "void: redis/failing/sigkill, seed" in shown
    assert any("every trial is void" in each for each in wrong)


def test_what_can_not_be_injected_is_not_run_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    found, wrong, shown = run(path, cell(fault=Impossible()), cell())
    not_run = found.cells["redis/aof-everysec/impossible"]
    assert not_run.not_run == "there is nothing like it in labs"
    assert (not_run.trials, not_run.void) == ([], [])
    assert "not run here: there is nothing like it" in shown
    assert len(found.cells["redis/aof-everysec/sigkill"].trials) == 1
    assert wrong == []


def test_what_another_machine_has_measured_stands_until_it_can_be_measured_here(
    tmp_path: Path,
) -> None:
    path = tmp_path / "test.json"
    measured, _, _ = run(path, cell())
    same_name = cell(fault=Impossible("SIGKILL"))
    found, _, shown = run(path, same_name, anew=True)
    assert found == record.load(path) == measured
    assert "not run here" in shown


def test_where_nothing_can_be_run_the_run_fails() -> None:
    _, wrong, _ = run(None, cell(fault=Impossible()))
    assert wrong == ["no cell can be run here"]


def test_a_control_that_fails_makes_the_run_void() -> None:
    # `none` under another name: it claims to keep everything.
    liar = replace(loss.NONE, name="aof-always")
    found, wrong, _ = run(None, cell(system=liar))
    assert found.controls["none"].startswith("redis/aof-always/sigkill: not so that")
    assert wrong[0].startswith("a control fails: redis/aof-always/sigkill")


def test_an_expectation_that_fails_makes_the_run_fail() -> None:
    surprising = Expectation("redis/*", "something is lost", lambda trial: trial.lost > 0)
    plan = LabPlan("test", "", [cell()], [surprising])
    found, _, _ = run(None, cell())
    (problem,) = problems(plan, found)
    assert "redis/aof-everysec/sigkill: not so that something is lost (seed" in problem


def test_names_and_seeds_are_unique(workspace: Workspace) -> None:
    cells = loss.full().cells
    names = [each.name for each in cells]
    seeds = [each.seed(1, number) for each in cells for number in range(each.trials)]
    assert len(set(names)) == len(names)
    assert len(set(seeds)) == len(seeds)
    assert {each.name for each in loss.quick(workspace).cells} <= set(names)


def test_every_expectation_is_about_some_cell() -> None:
    names = [each.name for each in loss.full().cells]
    for each in loss.EXPECTATIONS:
        assert any(fnmatchcase(name, each.cells) for name in names), each.cells


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        ((5, 1), None, "gone"),
        ((5, 1), (5, 0), "set back"),
        ((5, 1), (5, 1), "kept"),
        ((5, 1), (6, 0), "kept"),
        (None, (0, 0), "kept"),
        (None, None, "gone"),
    ],
)
def test_the_state_of_a_group(
    before: tuple[int, ...] | None, now: tuple[int, ...] | None, state: str
) -> None:
    assert group_state(before, now) == state


def test_the_summary_of_several_trials_shows_each() -> None:
    found, _, _ = run(None, cell(system=loss.ALWAYS, trials=2))
    (name, made), *_ = found.cells.items()
    one, other = made.trials
    counts = f"{one.acknowledged}, {other.acknowledged}"
    if one.acknowledged == other.acknowledged:
        counts = str(one.acknowledged)
    assert f"acknowledged {counts}; lost 0;" in summary(name, made)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a lab by its command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "snippets.labs", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_whole_cells_and_goes_on(
    tmp_path: Path, how: signal.Signals
) -> None:
    path = tmp_path / "loss.json"
    with start("loss", "--quick", "--cell", "redis/*", "--record", str(path)) as lab:
        for _ in attempts(120):
            if path.exists():
                break
        lab.send_signal(how)
        told, _ = lab.communicate()
    assert lab.returncode in {-signal.SIGKILL, 130}, told
    kept = record.load(path)
    assert kept
    assert kept.cells
    assert all(len(each.trials) == 1 for each in kept.cells.values())


def test_an_unknown_cell_is_an_error() -> None:
    with start("loss", "--cell", "mysql/*") as lab:
        told, _ = lab.communicate()
    assert lab.returncode == 1
    assert "no cell is called mysql/*: try --list" in told


def test_a_bad_record_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    path.write_text("{")
    with start("loss", "--cell", "redis/none/sigkill", "--record", str(path)) as lab:
        told, _ = lab.communicate()
    assert lab.returncode == 1
    assert f"error: {path} is not a record of a lab" in told
    assert "acknowledged" not in told.partition("error:")[2]


def test_the_list_says_what_can_not_run_here() -> None:
    with start("loss", "--list", "--cell", "redis/none/*") as lab:
        told, _ = lab.communicate()
    assert lab.returncode == 0
    assert "redis/none/sigkill\n" in told
    for medium in loss.MEDIA:
        (line,) = [each for each in told.splitlines() if f"/{medium.name}" in each]
        name = f"redis/none/power-cut/{medium.name}"
        assert line == name or line.startswith(f"{name}: not run here: ")


def test_without_privileges_the_quick_run_takes_the_shim() -> None:
    bare = ["setpriv", "--bounding-set=-all"] if may_mount() else []
    command = [*bare, sys.executable, "-m", "snippets.labs", "loss", "--quick", "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "redis/aof-everysec/power-cut/shim\n" in done.stdout
    assert "not run here" not in done.stdout
