"""A history is kept whole, and a file that is none is refused with its line."""

import threading
from pathlib import Path

import pytest

from snippets.labs.history import Action, HistoryError, Journal, Phase, read


def test_what_is_noted_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Journal(path) as journal:
        journal.note("writer-1", Action.WRITE, 7, Phase.INVOKE)
        journal.note("writer-1", Action.WRITE, 7, Phase.OK, key="other")
    one, other = read(path)
    assert (one.process, one.action, one.key) == ("writer-1", Action.WRITE, "log")
    assert (other.value, other.phase, other.key) == (7, Phase.OK, "other")
    assert one.monotonic_ns <= other.monotonic_ns
    assert one.wall <= other.wall


def test_lines_of_several_threads_are_whole_and_in_the_order_of_time(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.jsonl"
    with Journal(path) as journal:

        def note(process: str) -> None:
            for value in range(200):
                journal.note(process, Action.WRITE, value, Phase.INVOKE)

        threads = [threading.Thread(target=note, args=(f"w{n}",)) for n in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    times = [each.monotonic_ns for each in read(path)]
    assert len(times) == 800
    assert times == sorted(times)


def test_a_journal_goes_on_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for value in (1, 2):
        with Journal(path) as journal:
            journal.note("w", Action.WRITE, value, Phase.OK)
    assert [each.value for each in read(path)] == [1, 2]


GOOD = (
    '{"process":"w","action":"write","key":"log","value":1,"phase":"ok",'
    '"monotonic_ns":1,"wall":1.0}\n'
)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{\n", "not an operation"),
        (GOOD.replace('"value":1,', ""), "missing required field `value`"),
        (GOOD.replace('"ok"', '"perhaps"'), "Invalid enum value 'perhaps'"),
        (GOOD.replace('"value":1', '"value":"1"'), "Expected `int`, got `str`"),
        (GOOD.replace('"value"', '"extra":0,"value"'), "unknown field `extra`"),
        (GOOD.rstrip("\n"), "the line is cut off"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(
    tmp_path: Path, line: str, problem: str
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(GOOD + line)
    with pytest.raises(HistoryError) as refused:
        read(path)
    assert f"{path}:2: " in str(refused.value)
    assert problem in str(refused.value)
