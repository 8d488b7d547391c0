"""Nothing that was started outlives who started it, however that ended."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from snippets.servers import Way, choose
from snippets.servers.guard import lives
from snippets.servers.ready import attempts
from snippets.servers.run import OWNER

ROOT = Path(__file__).parents[2]

# The promise is five seconds; a busy machine gets some more.
PATIENCE_S = 30.0

PLAY = """
import signal, sys
# What a shell runs in the background ignores Ctrl-C, and so would we.
signal.signal(signal.SIGINT, signal.default_int_handler)
from snippets import servers
from snippets.servers.run import current_run
with servers.redis() as redis, servers.kafka() as kafka:
    if "freeze" in sys.argv:
        for node in [*redis.nodes, *kafka.brokers]:
            node.pause()
    print(current_run().folder, redis.url, kafka.bootstrap_servers, flush=True)
    sys.stdin.read()
"""

OWN = """
import os, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]],
    env={**os.environ, "SERVERS_OWNER": str(os.getpid())},
)
print(child.pid, flush=True)
child.wait()
"""


def read_words(process: subprocess.Popen[str]) -> list[str]:
    """Read a line that a process prints."""
    assert process.stdout
    words = process.stdout.readline().split()
    assert words, "it has ended"
    return words


@contextmanager
def started(way: Way, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python with pipes to it; kill it in the end."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "SERVERS": str(way)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            yield process
            process.kill()
    finally:
        process.kill()


def listens(address: str) -> bool:
    """Tell whether something accepts connections there."""
    port = int(address.rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until_gone(folder: str, *addresses: str) -> None:
    """Wait until nothing listens any more and the folder is removed."""
    for _ in attempts(PATIENCE_S):
        if not any(map(listens, addresses)) and not Path(folder).exists():
            return
    pytest.fail(f"left behind: {folder}, {[each for each in addresses if listens(each)]}")


@pytest.fixture
def way() -> Way:
    """How the servers of this run are had; yours don't end with us."""
    chosen = choose("redis")
    assert chosen is not Way.EXTERNAL, "run this with SERVERS=local or SERVERS=containers"
    return chosen


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_end_with_the_process_that_started_them(
    how: signal.Signals, way: Way
) -> None:
    with started(way, "-c", PLAY) as play:
        folder, *addresses = read_words(play)
        assert [listens(each) for each in addresses] == [True, True]
        play.send_signal(how)
        until_gone(folder, *addresses)


def test_servers_end_even_if_they_are_frozen(way: Way) -> None:
    with started(way, "-c", PLAY, "freeze") as play:
        folder, *addresses = read_words(play)
        play.kill()
        until_gone(folder, *addresses)


def test_servers_end_with_whoever_started_that_process(way: Way) -> None:
    assert OWNER in OWN
    with started(way, "-c", OWN, PLAY) as owner:
        (child,) = read_words(owner)
        folder, *addresses = read_words(owner)
        process = psutil.Process(int(child))
        owner.kill()
        until_gone(folder, *addresses)
        assert not lives(process)


def test_two_runs_at_once_do_not_meet(way: Way) -> None:
    with started(way, "-c", PLAY) as one, started(way, "-c", PLAY) as another:
        first, second = read_words(one), read_words(another)
        assert not set(first) & set(second)
        one.kill()
        until_gone(*first)
        assert all(map(listens, second[1:]))
        another.kill()
        until_gone(*second)
