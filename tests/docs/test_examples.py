"""Every example that a reader sees runs, and shows what it really prints."""

import ast
import contextlib
import importlib
import io
import subprocess
import sys
import types
from pathlib import Path

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

from snippets import servers
from tests.clients import client_of
from tests.docs.recorded import ROOT, SNIPPETS, Scrubber, pasted, task_modules
from tests.ledger import write_whole

DOCSTRINGS = list(find_examples(str(SNIPPETS)))
PYTHON_FENCES = ("```py\n", "```python\n")

# The tasks that what all tests share doesn't suit, by the fixtures whose servers do.
OTHER_SERVERS = {"secure": ("secure_redis", "secure_kafka")}


def name_of(module: Path) -> str:
    """Return the dotted name of a module."""
    return ".".join(module.relative_to(ROOT).with_suffix("").parts)


def use_servers_of(
    module: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let a module find the servers that it is meant for."""
    for fixture in OTHER_SERVERS.get(module.stem, ()):
        for name, value in request.getfixturevalue(fixture).environment().items():
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize("example", DOCSTRINGS, ids=str)
@pytest.mark.usefixtures("redis", "kafka_environment")
def test_docstring_example_prints_what_it_shows(
    example: CodeExample,
    eval_example: EvalExample,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_servers_of(example.path, request, monkeypatch)
    eval_example.print_callback = Scrubber()
    # What a handler prints is shown too, under the line that calls it.
    eval_example.include_print = lambda *_: True
    if eval_example.update_examples:
        eval_example.run_print_update(example)
    else:
        eval_example.run_print_check(example)


@pytest.mark.parametrize("module", task_modules(), ids=name_of)
def test_what_a_page_shows_is_complete_and_no_more(module: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F", "-"],
        input=pasted(module),
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "example", [each for each in DOCSTRINGS if each.path in task_modules()], ids=str
)
@pytest.mark.usefixtures("redis", "kafka_environment")
def test_example_runs_on_what_a_reader_pastes(
    example: CodeExample,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_servers_of(example.path, request, monkeypatch)
    name = name_of(example.path)
    copied = types.ModuleType(name)
    exec(pasted(example.path), copied.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, name, copied)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(example.source, {"__name__": "__main__"})  # noqa: S102
    lines = map(str.strip, example.source.splitlines())
    shown = [line.removeprefix("#> ") for line in lines if line.startswith("#> ")]
    assert Scrubber()(out.getvalue()).splitlines() == shown


@pytest.mark.parametrize("module", task_modules(), ids=name_of)
def test_transcript_is_what_the_demo_prints(
    module: Path,
    redis_server: servers.Redis,
    kafka_server: servers.Kafka,
    redis: object,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    use_servers_of(module, request, monkeypatch)
    name = name_of(module)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        importlib.import_module(name).demo()
    printed = Scrubber()(out.getvalue())
    recorded = module.with_suffix(".txt")
    if pytestconfig.getoption("update_examples"):
        answered = (
            f"Kafka {kafka_server.version}"
            if ".kafka." in name
            else f"Redis {redis_server.version}"
        )
        write_whole(
            recorded, f"$ python -m {name}  # {answered}, {client_of(module)}\n{printed}"
        )
    assert recorded.exists(), (
        f"{recorded.relative_to(ROOT)} is missing: "
        "record it with `nox -s tests -- --update-examples`"
    )
    command, _, shown = recorded.read_text(encoding="utf-8").partition("\n")
    assert command.startswith(f"$ python -m {name}  # ")
    assert printed == shown, (
        f"{recorded.relative_to(ROOT)} is not what `python -m {name}` prints now: "
        "see which is right, then `nox -s tests -- --update-examples`"
    )


def test_no_docstring_example_is_missed() -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    fences: dict[Path, int] = {}
    for path in SNIPPETS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, documented):
                text = (ast.get_docstring(node) or "") + "\n"
                fences[path] = fences.get(path, 0) + sum(map(text.count, PYTHON_FENCES))
    found = dict.fromkeys(fences, 0)
    for example in DOCSTRINGS:
        found[example.path] += 1
    assert fences == found


def test_every_task_shows_an_example() -> None:
    shown = {example.path for example in DOCSTRINGS}
    assert [module for module in task_modules() if module not in shown] == []
