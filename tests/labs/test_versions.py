"""The probes tell a release that has a feature from one that has not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis, ResponseError
from rich.console import Console

from snippets import servers
from snippets.labs import host
from snippets.labs.record import DATA, RecordError, load_as
from snippets.labs.report import versions as report
from snippets.labs.versions import redis_probes
from snippets.labs.versions.matrix import Matrix
from snippets.labs.versions.plan import Had, Planned, full, one_sided, problems
from snippets.labs.versions.probe import Answer, Missing, Probes, Verdict, must
from snippets.labs.versions.run import run as run_versions
from snippets.servers import ServersError
from snippets.servers.versions import REDIS

RedisOf = Callable[[str], servers.Redis]
PLANNED = {each.name: each for each in full().cells}

run = partial(run_versions, console=Console(quiet=True))


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    """What is recorded."""
    recorded = load_as(DATA / "versions.json", Matrix)
    assert recorded, "record it with `nox -s labs -- versions`"
    return recorded


def test_everything_is_recorded_and_nothing_else(matrix: Matrix) -> None:
    assert set(matrix.columns) == set(PLANNED)
    stale = [
        name
        for name, planned in PLANNED.items()
        if matrix.columns[name].probes != planned.blank(host.describe()).probes
        or matrix.columns[name].version != planned.version
    ]
    assert stale == [], "record them anew with `nox -s labs -- versions`"


def test_every_answer_fits_the_release_that_the_page_names(matrix: Matrix) -> None:
    assert problems(list(PLANNED.values()), matrix.columns) == []


def test_every_probe_has_said_yes_and_no(matrix: Matrix) -> None:
    assert one_sided(list(PLANNED.values()), matrix.columns) == []


@pytest.mark.parametrize("version", [REDIS, "8.2.3", "6.2.14", "valkey-9.1.2"])
def test_a_release_says_what_is_recorded(
    version: str, redis_of: RedisOf, matrix: Matrix
) -> None:
    recorded = matrix.columns[f"redis/{version}"].answers
    with redis_probes.client(redis_of(version).url) as client:
        said = {
            probe.name: redis_probes.PROBES.ask(probe, client, f"probe-{number:x}")
            for number, probe in enumerate(redis_probes.PROBES)
        }
        client.flushall()
    assert said == recorded


def documented(node: Any) -> Iterator[str]:
    """Return all releases that a reply of `COMMAND DOCS` names."""
    if isinstance(node, dict):
        if "since" in node:
            yield str(node["since"])
        for each in node.values():
            yield from documented(each)
    elif isinstance(node, list):
        for each in node:
            if isinstance(each, list) and each and str(each[0])[:1].isdigit():
                yield str(each[0])
            yield from documented(each)


# These are settings and a mended fault, of which no command tells.
UNDOCUMENTED = {"acl-read-only-key", "trim-acked-about", "corrupt-tail", "xread-last"}


@pytest.mark.parametrize(
    "probe",
    [each for each in redis_probes.PROBES if each.name not in UNDOCUMENTED],
    ids=lambda each: each.name,
)
def test_the_newest_redis_names_the_same_release(probe: Any, redis_of: RedisOf) -> None:
    command = probe.source.rstrip("/").rpartition("/")[2]
    with Redis.from_url(redis_of(REDIS).url, decode_responses=True) as redis:
        redis.response_callbacks.clear()
        # A subcommand is documented with its container.
        docs = redis.execute_command("COMMAND", "DOCS", command.partition("-")[0])
    assert f"{probe.since}.0" in set(documented(docs))


# What follows needs no server.


class Fake:
    """A server that has what it is told to have."""

    def __init__(self, *features: str) -> None:
        """Begin with some features."""
        self.features = features
        self.asked = 0


FAKES: Probes[Fake] = Probes((ResponseError,))


@FAKES.add("Base", since="1.0", source="", baseline=True)
def base(fake: Fake, name: str) -> None:
    """Always there."""
    assert name.startswith("probe-")
    fake.asked += 1


@FAKES.add("New", since="2.0", source="")
def new(fake: Fake, name: str) -> None:
    """There if it is told so."""
    if "broken" in fake.features:
        raise OSError("gone")
    if "new" not in fake.features:
        raise ResponseError(f"unknown command 'NEW', with args beginning with: '{name}'")


def planned(fake: Fake, version: str) -> Planned:
    """Plan to ask a fake."""

    @contextmanager
    def have() -> Iterator[Had]:
        if "absent" in fake.features:
            raise ServersError("it can't be had\nat all")
        yield Had(version, "local", lambda probe: FAKES.ask(probe, fake, "probe-1"))

    return Planned(f"redis/{version}", "Redis", version, {}, list(FAKES), have)


def asked(*plans: Planned) -> Matrix:
    """Ask, and record nothing."""
    return run(list(plans), None, anew=lambda _: False)


OLD, NEW = planned(Fake(), "1.0"), planned(Fake("new"), "2.0")


def test_a_refusal_is_a_no_with_its_error() -> None:
    answers = asked(OLD).columns["redis/1.0"].answers
    assert answers["new"] == Answer(Verdict.NO, "ResponseError: unknown command 'NEW'")
    assert answers["base"] == Answer(Verdict.YES)


def test_what_a_probe_cannot_tell_is_no_answer() -> None:
    broken = planned(Fake("broken"), "1.0")
    columns = asked(broken).columns
    assert columns["redis/1.0"].answers["new"] == Answer(Verdict.FAILED, "OSError: gone")
    assert problems([broken], columns) == ["redis/1.0/new could not tell: OSError: gone"]


def test_an_answer_against_its_release_is_a_problem() -> None:
    early, late = planned(Fake("new"), "1.9"), planned(Fake(), "10.0")
    assert problems([OLD, NEW], asked(OLD, NEW).columns) == []
    assert len(problems([early, late], asked(early, late).columns)) == 2


def test_a_probe_that_always_says_yes_is_caught() -> None:
    assert one_sided([OLD, NEW], asked(OLD, NEW).columns) == []
    assert one_sided([NEW], asked(NEW).columns) == ["redis/new says only yes"]


def test_another_version_than_planned_is_not_recorded() -> None:
    wrong = replace(OLD, version="1.1")
    column = asked(wrong).columns["redis/1.0"]
    assert (column.answers, column.not_run) == (
        {},
        "redis/1.0 is to be asked, and 1.0 answers",
    )


def test_a_run_goes_on_where_another_ended(tmp_path: Path) -> None:
    path, fake = tmp_path / "versions.json", Fake()
    plan = planned(fake, "1.0")
    for _ in range(2):
        run([plan], path, anew=lambda _: False)
    assert fake.asked == 1
    run([plan], path, anew=lambda name: name == "redis/1.0")
    assert fake.asked == 2
    run([replace(plan, version="1.0.1")], path, anew=lambda _: False)
    assert load_as(path, Matrix)


def test_what_was_told_stands_where_it_cannot_be_asked(tmp_path: Path) -> None:
    path = tmp_path / "versions.json"
    run([OLD], path, anew=lambda _: False)
    run([planned(Fake("absent"), "1.0")], path, anew=lambda _: True)
    recorded = load_as(path, Matrix)
    assert recorded
    assert recorded.columns["redis/1.0"].answers
    absent = asked(planned(Fake("absent"), "1.0")).columns["redis/1.0"]
    assert absent.not_run == "it can't be had"


def test_a_file_that_is_no_matrix_is_named(tmp_path: Path) -> None:
    path = tmp_path / "versions.json"
    path.write_bytes(msgspec.json.encode({"columns": 1}))
    with pytest.raises(RecordError, match=r"versions\.json is not a record"):
        run([OLD], path, anew=lambda _: False)


def test_what_is_not_as_wanted_is_missing() -> None:
    must([1], [1], "the reply")
    with pytest.raises(Missing, match="the reply is `1`, not `2`"):
        must(1, 2, "the reply")


def shown(matrix: Matrix) -> tuple[str, str]:
    """Return the table of Redis, and what it says below, of a matrix."""
    made = report.pieces(matrix, list(PLANNED.values()))
    return made["redis.txt"], made["redis_answers.txt"]


def test_the_page_says_what_is_not_recorded() -> None:
    made = report.pieces(Matrix("", "", {}), list(PLANNED.values()))
    assert made["overview.txt"] == "Nothing is recorded yet.\n"
    assert (
        'data-head="Redis 8.2.3"><span><a href="#redis-xnack">not recorded yet'
        in (made["redis.txt"])
    )


def test_the_page_says_why_a_server_was_not_asked(matrix: Matrix) -> None:
    name = "redis/7.0.15"
    absent = msgspec.structs.replace(
        matrix.columns[name], answers={}, not_run="no apt-get"
    )
    _, answers = shown(Matrix("", "", {**matrix.columns, name: absent}))
    assert "**not run here** on Redis 7.0.15: no apt-get" in answers


def test_the_page_shows_errors_as_code_and_once(matrix: Matrix) -> None:
    table, answers = shown(matrix)
    entry = answers.partition("{#redis-xnack}")[2].partition("\n- ")[0]
    assert entry.count("`ResponseError: unknown command 'XNACK'`") == 1
    assert 'id="cell-redis-8.2.3-xnack" class="no"' in table
    assert 'id="cell-redis-8.10.2-xnack" class="yes"' in table
