"""The lab on delivery: its checkers, its proxy, and its headlines on real servers."""

import io
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from snippets.labs import checkers, delivery
from snippets.labs.faults.interface import FaultError
from snippets.labs.faults.replies import HOST, LossyProxy
from snippets.labs.history import GROUP, Action, Journal, Operation, Phase, read_so_far
from snippets.labs.run import problems, run_lab
from snippets.labs.scenarios.clients import Settling, kind_of
from snippets.labs.scenarios.worker import HandingOff, Work
from snippets.labs.workspace import Workspace
from snippets.servers.ready import attempts
from tests.labs.histories import history_of, operation

DELIVER, PROCESS, WRITE = Action.DELIVER, Action.PROCESS, Action.WRITE


def process(value: int, phase: Phase = Phase.OK, key: str = GROUP) -> Operation:
    """Write that a group has done the work for a value."""
    return operation("c", PROCESS, value, phase, key=key)


def test_only_an_acknowledged_value_without_work_is_unprocessed() -> None:
    history = history_of(
        *[("w", WRITE, value, Phase.OK) for value in (1, 2, 3, 4)],
        ("w", WRITE, 5, Phase.UNKNOWN),
        ("c", DELIVER, 2, Phase.OK),
    )
    history += [process(1), process(3, key="other"), process(4, Phase.UNKNOWN)]
    assert checkers.unprocessed(history, key=GROUP) == [2, 3, 4]


def test_work_that_is_done_again_is_counted() -> None:
    history = [*map(process, (1, 2, 2, 3, 3, 3)), process(1, key="other")]
    assert checkers.repeated(history, key=GROUP) == {2: 1, 3: 2}


@given(st.sets(st.integers(0, 999)), st.lists(st.integers(0, 999)))
def test_unprocessed_and_repeated_add_up(written: set[int], worked: list[int]) -> None:
    history = [operation("w", WRITE, value, Phase.OK) for value in written]
    history += map(process, worked)
    repeated = checkers.repeated(history, key=GROUP)
    assert sum(repeated.values()) == len(worked) - len(set(worked))
    assert set(checkers.unprocessed(history, key=GROUP)) == written - set(worked)


def test_refused_writes_are_those_that_failed_for_certain() -> None:
    phases = {1: Phase.OK, 2: Phase.FAIL, 3: Phase.UNKNOWN}
    history = [operation("w", WRITE, value, phase) for value, phase in phases.items()]
    assert checkers.refused(history) == [2]


def test_a_history_is_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Journal(path) as journal:
        assert read_so_far(path) == []
        journal.note("w", WRITE, 1, Phase.OK)
        with path.open("ab") as file:
            file.write(b'{"process": "c')
        assert [each.value for each in read_so_far(path)] == [1]


@contextmanager
def echo() -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Run a server that sends back all it gets; yield its address, and what it got."""
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                got.append(data)
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection]).start()

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname(), got
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def ask(connection: socket.socket, text: bytes) -> bytes:
    """Send a request; return the reply, which is empty if the connection is gone."""
    connection.sendall(text)
    return connection.recv(100)


def test_the_proxy_loses_the_reply_and_not_the_request() -> None:
    with echo() as (address, got):
        proxy = LossyProxy(lambda request: request.startswith(b"write"), address)
        with proxy.running():
            here = (HOST, proxy.port)
            with socket.create_connection(here) as one:
                assert ask(one, b"write 1") == b"write 1"
                loss = threading.Thread(target=proxy.lose, args=(1, 30))
                loss.start()
                assert ask(one, b"read") == b"read"
                while ask(one, b"write 2"):
                    pass  # the thread that loses it has not begun yet
                loss.join()
            with socket.create_connection(here) as other:
                assert ask(other, b"write 3") == b"write 3"
        assert {b"write 1", b"read", b"write 2", b"write 3"} == set(got)


def test_the_proxy_goes_where_a_client_wants_by_socks() -> None:
    with echo() as ((host, port), _):
        proxy = LossyProxy(lambda _: True)
        with (
            proxy.running(),
            socket.create_connection((HOST, proxy.port)) as connection,
        ):
            assert ask(connection, b"\x05\x01\x00") == b"\x05\x00"
            target = socket.inet_aton(host) + port.to_bytes(2)
            granted = ask(connection, b"\x05\x01\x00\x01" + target)
            assert granted.startswith(b"\x05\x00")
            assert ask(connection, b"hello") == b"hello"


def test_replies_that_never_come_can_not_be_lost() -> None:
    proxy = LossyProxy(lambda _: True, (HOST, 1))
    with proxy.running(), pytest.raises(FaultError, match="1 of 1 replies did not come"):
        proxy.lose(1, 0)


def test_there_is_no_worker_of_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="no worker of kind 'hasty'"):
        kind_of("hasty")


class Offline:
    """A client of nobody: gives batches, and remembers what is acknowledged."""

    acknowledges_first = False

    def __init__(self, *batches: list[int], owes: int = 1, exact: bool = False) -> None:
        """Take note of what to give."""
        self._batches = list(batches)
        self.owes = owes
        self.exact = exact
        self.acknowledged: list[list[int]] = []
        self.when_revoked: Settling = lambda: nullcontext(())

    def take(self) -> Sequence[int]:
        """See `clients.Client`."""
        return self._batches.pop(0) if self._batches else []

    def acknowledge(self, values: Sequence[int]) -> None:
        """See `clients.Client`."""
        self.acknowledged.append(list(values))

    def close(self) -> None:
        """See `clients.Client`."""


def test_who_acknowledges_seldom_does_so_when_it_owes_enough_or_is_idle(
    tmp_path: Path,
) -> None:
    taker = Offline([1, 2], [2, 3], [4], owes=3)
    with Journal(tmp_path / "history.jsonl") as journal:
        work = Work(taker, journal)
        for _ in range(4):
            work.step()
    assert taker.acknowledged == [[1, 2, 3], [4]]


class Revoked(Work):
    """A consumer that is told in the middle of its batch that it has to give it up."""

    def _do(self, value: int) -> None:
        super()._do(value)
        if value == 1:
            self.settle()


@pytest.mark.parametrize(("exact", "told"), [(True, [[1], [2]]), (False, [[1, 2]])])
def test_who_commits_its_position_gives_up_the_rest_of_the_batch(
    *, exact: bool, told: list[list[int]], tmp_path: Path
) -> None:
    taker = Offline([1, 2], exact=exact)
    with Journal(tmp_path / "history.jsonl") as journal:
        Revoked(taker, journal).step()
    assert taker.acknowledged == told


@pytest.mark.parametrize("first", [True, False])
def test_who_hands_off_acknowledges_what_is_taken_or_what_is_done(
    *, first: bool, tmp_path: Path
) -> None:
    taker = Offline([1, 2, 3], exact=True)
    taker.acknowledges_first = first
    path = tmp_path / "history.jsonl"
    with Journal(path) as journal:
        work = HandingOff(taker, journal)
        for _ in attempts(60):
            work.step()
            actions = [each.action for each in read_so_far(path)]
            told = list(chain.from_iterable(taker.acknowledged))
            if told == [1, 2, 3] and actions.count(PROCESS) == len(told):
                break
    before = actions.index(Action.ACKNOWLEDGE) < actions.index(PROCESS)
    assert before is first


def test_names_are_unique_and_every_expectation_is_about_some_cell(
    workspace: Workspace,
) -> None:
    names = [each.name for each in delivery.full().cells]
    assert len(set(names)) == len(names)
    assert {each.name for each in delivery.quick(workspace).cells} == set(delivery.QUICK)
    assert set(delivery.QUICK) <= set(names)
    for each in delivery.EXPECTATIONS:
        assert any(fnmatchcase(name, each.cells) for name in names), each.cells
    for name in names:
        about = [each for each in delivery.EXPECTATIONS if fnmatchcase(name, each.cells)]
        assert any(each.cells != "*" for each in about), name


def names_of_redis() -> list[str]:
    """Return the names of the cells that take a few seconds each."""
    names = [each.name for each in delivery.full().cells]
    return [name for name in names if name.startswith("redis/")]


OF_KAFKA = (
    "kafka/idempotence-on/lost-replies",
    "kafka/auto-commit-hand-off/consumer-sigkill",
    "kafka/commit-listener-kip-848/consumer-joins",
)


@pytest.mark.parametrize("name", [*names_of_redis(), *OF_KAFKA])
def test_a_cell_shows_what_it_must(name: str, workspace: Workspace) -> None:
    lab = delivery.full()
    cells = [replace(each, trials=1) for each in lab.cells if each.name == name]
    plan = replace(lab, cells=cells)
    shown = io.StringIO()
    found = run_lab(
        plan,
        None,
        seed=1,
        anew=lambda _: True,
        place=workspace,
        console=Console(file=shown, width=250),
    )
    assert problems(plan, found) == [], shown.getvalue()
