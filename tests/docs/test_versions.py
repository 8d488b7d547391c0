"""What an older server says to a newer command is what the pages say that it says."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from redis import Redis
from redis import exceptions as redis_errors

from snippets import servers
from snippets.redis_streams import temporary_stream
from snippets.redis_streams.append_durably import append_durably
from snippets.redis_streams.append_once import append_once
from snippets.redis_streams.claim_stalled import claim_stalled
from snippets.redis_streams.dead_letter import dead_letter
from snippets.redis_streams.delete_acknowledged import (
    acknowledge_and_delete,
    delete_acknowledged,
)
from snippets.redis_streams.evolve_schema import read_versioned
from snippets.redis_streams.inspect import inspect_group, inspect_log
from snippets.redis_streams.measure_lag import measure_lag
from snippets.redis_streams.publish_from_outbox import (
    create_outbox,
    publish_from_outbox,
    put,
)
from snippets.redis_streams.work_queue import work
from snippets.servers.versions import REDIS
from tests.docs.recorded import DOCS

RedisOf = Callable[[str], servers.Redis]

SECTION = re.compile(r"^## .*\{#versions\}$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SERVER = re.compile(r"^\*\*On (Redis|Valkey) ([\d.]+):\*\* (.*)$", re.MULTILINE)
FAILS = re.compile(r"`([^`]+)` fails with (?:`` ?(.+?) ?``|`([^`]+)`)")

# Releases from this one on can be compared with an older server that is at hand.
OLDEST = (6, 2)
SINCE = re.compile(r"\bRedis (\d+)\.(\d+)\b")

FIELDS: dict[Any, Any] = {"order": "1"}


class Refusal(NamedTuple):
    """What a page says of an older server."""

    page: str
    version: str
    what: str
    error: str


def sections() -> dict[str, str]:
    """Return the section on versions of each page that has one."""
    texts = {
        page.stem: page.read_text(encoding="utf-8")
        for page in (DOCS / "tasks").glob("*.md")
    }
    found = {stem: SECTION.search(text) for stem, text in texts.items()}
    return {stem: section[1] for stem, section in sorted(found.items()) if section}


def refusals() -> Iterator[Refusal]:
    """Read the pages."""
    for page, text in sections().items():
        for product, number, sentence in SERVER.findall(text):
            version = number if product == "Redis" else f"{product.lower()}-{number}"
            for what, spaced, plain in FAILS.findall(sentence):
                yield Refusal(page, version, what, spaced or plain)


def command(line: str) -> Callable[[Redis, str], object]:
    """Make a trial of a command; `S` stands for the stream."""

    def send(redis: Any, stream: str) -> object:
        words = [stream if word == "S" else word for word in line.split()]
        # The replies are of no interest, and their shapes differ between the releases.
        return redis.execute_command(*words, NEVER_DECODE=True)

    return send


def from_outbox(redis: Redis, stream: str) -> object:
    """Publish an event from an outbox."""
    database = sqlite3.connect(":memory:")
    create_outbox(database)
    with database:
        put(database, "ann", {"order": "1"})
    try:
        return publish_from_outbox(redis, stream, database, "shop")
    finally:
        database.close()


# What a page may name: a function of its own, or a command. The stream has two entries,
# and a group to which one of them was delivered.
TRIALS: dict[str, Callable[[Redis, str], object]] = {
    "ACL SETUSER … %R~orders": command("ACL SETUSER audit %R~orders"),
    "XACKDEL": command("XACKDEL S billing IDS 1 1-1"),
    "XADD … ACKED": command("XADD S MAXLEN = 5 ACKED * order 1"),
    "XADD … IDMP": command("XADD S IDMP shop order-7 * order 1"),
    "XCFGSET": command("XCFGSET S IDMP-DURATION 100"),
    "XDELEX": command("XDELEX S IDS 1 1-1"),
    "XGROUP CREATE … ENTRIESREAD": command("XGROUP CREATE S audit 0 ENTRIESREAD 0"),
    "XGROUP SETID … ENTRIESREAD": command("XGROUP SETID S billing 0 ENTRIESREAD 0"),
    "XNACK": command("XNACK S billing FAIL IDS 1 1-1"),
    "XREAD … MAXCOUNT": command("XREAD MAXCOUNT 1 STREAMS S 0"),
    "XREAD … +": command("XREAD STREAMS S +"),
    "XREADGROUP … CLAIM": command("XREADGROUP GROUP billing w CLAIM 0 STREAMS S >"),
    "XREADGROUP … MAXSIZE": command("XREADGROUP GROUP billing w MAXSIZE 9 STREAMS S >"),
    "XREADGROUP … MAXCOUNT": command("XREADGROUP GROUP billing w MAXCOUNT 1 STREAMS S >"),
    "XTRIM … ACKED": command("XTRIM S MAXLEN = 5 ACKED"),
    "HEXPIRE": command("HEXPIRE stock 1 FIELDS 1 tea"),
    "SET … IFEQ": command("SET lock mine IFEQ mine"),
    "acknowledge_and_delete": lambda redis, stream: acknowledge_and_delete(
        redis, stream, "billing", ["1-1"]
    ),
    "append_durably": lambda redis, stream: append_durably(
        redis, stream, FIELDS, copies=1
    ),
    "append_once": lambda redis, stream: append_once(
        redis, stream, FIELDS, "shop", "order-7"
    ),
    "claim_stalled": lambda redis, stream: claim_stalled(
        redis, stream, "billing", "worker-2", 0, lambda _: None
    ),
    "dead_letter": lambda redis, stream: dead_letter(
        redis, stream, "billing", "worker-2", f"{stream}:dead", lambda _: None, block_ms=1
    ),
    "delete_acknowledged": delete_acknowledged,
    "inspect_group": lambda redis, stream: inspect_group(redis, stream, "billing"),
    "inspect_log": inspect_log,
    "measure_lag": lambda redis, stream: measure_lag(redis, stream, "billing"),
    "publish_from_outbox": from_outbox,
    "read_versioned": lambda redis, stream: read_versioned(
        redis, stream, "billing", "worker-2", [], lambda _: None, block_ms=1
    ),
    "work": lambda redis, stream: work(
        redis, stream, "billing", "worker-2", lambda *_: "accept", block_ms=1
    ),
}


def trial(redis: Redis, stream: str, what: str) -> str:
    """Try what a page names, and return the last line of the traceback, or nothing."""
    for _ in range(2):
        redis.xadd(stream, FIELDS)
    redis.xgroup_create(stream, "billing", id="0")
    streams: dict[Any, Any] = {stream: ">"}
    redis.xreadgroup("billing", "worker-1", streams, count=1)
    try:
        TRIALS[what](redis, stream)
    except (redis_errors.RedisError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize(
    "refusal", refusals(), ids=lambda each: f"{each.page}: {each.what} on {each.version}"
)
def test_an_older_server_says_what_the_page_says(
    refusal: Refusal, redis_of: RedisOf
) -> None:
    server = redis_of(refusal.version)
    with (
        Redis.from_url(server.url, decode_responses=True) as redis,
        temporary_stream(redis) as stream,
    ):
        said = trial(redis, stream, refusal.what)
    # Where a server repeats the arguments, the page need not.
    assert said.partition(", with args")[0] == refusal.error


@pytest.mark.parametrize(
    ("version", "what", "length", "pending"),
    [
        ("6.2.14", "append_durably", 3, {"worker-1": 1}),
        ("6.2.14", "claim_stalled", 2, {"worker-2": 1}),
        ("8.2.3", "append_once", 2, {"worker-1": 1}),
        ("8.2.3", "publish_from_outbox", 2, {"worker-1": 1}),
    ],
)
def test_what_fails_has_done_as_much_as_the_page_says(
    redis_of: RedisOf, version: str, what: str, length: int, pending: dict[str, int]
) -> None:
    with (
        Redis.from_url(redis_of(version).url, decode_responses=True) as redis,
        temporary_stream(redis) as stream,
    ):
        assert trial(redis, stream, what)
        assert redis.xlen(stream) == length
        consumers = redis.xinfo_consumers(stream, "billing")
        assert {
            each["name"]: each["pending"] for each in consumers if each["pending"]
        } == pending


@pytest.mark.parametrize("what", TRIALS)
def test_the_newest_server_takes_it(what: str, redis_of: RedisOf) -> None:
    with (
        Redis.from_url(redis_of(REDIS).url, decode_responses=True) as redis,
        temporary_stream(redis) as stream,
    ):
        redis.config_set("appendonly", "yes")
        redis.config_set("appendfsync", "always")
        assert trial(redis, stream, what) == ""


def test_the_pages_name_every_trial() -> None:
    assert {each.what for each in refusals()} == set(TRIALS)


@pytest.mark.parametrize(("page", "section"), sections().items(), ids=sections())
def test_a_page_that_names_a_newer_release_says_what_an_older_one_says(
    page: str, section: str
) -> None:
    newer = [each for each in SINCE.findall(section) if tuple(map(int, each)) > OLDEST]
    told = [each for each in refusals() if each.page == page]
    assert not newer or told
