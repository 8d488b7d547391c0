"""Clients of the labs call an outcome unknown unless they know, on real servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka.errors import (
    KafkaTimeoutError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
)

from snippets.labs.faults.plain import Plain
from snippets.labs.history import Journal, Phase, read
from snippets.labs.load import ServerGoneError, drain
from snippets.labs.systems.kafka import KafkaSystem, phase_of
from snippets.labs.systems.redis import (
    RedisSystem,
    RunningRedis,
    connect,
    last_words,
    repair,
)
from snippets.labs.workspace import Workspace

AOF = {"save": "", "appendonly": "yes", "appendfsync": "always"}


def outcomes(running: RunningRedis, *values: int) -> list[Phase]:
    """Write values one by one; return what the writer was told."""
    told: list[Phase] = []
    writer = running.writer()
    for value in values:
        writer.write(value, told.append)
    writer.close()
    return told


@pytest.fixture
def redis(workspace: Workspace) -> Iterator[RunningRedis]:
    """A Redis that keeps everything."""
    folder = workspace.new_folder("redis")
    with RedisSystem("test", AOF, "").run(Plain(folder), folder) as running:
        yield running


def test_redis_what_is_written_is_read_in_order(redis: RunningRedis) -> None:
    assert outcomes(redis, 3, 1, 2) == [Phase.OK] * 3
    assert redis.values() == [3, 1, 2]


def test_redis_a_refused_write_has_failed(redis: RunningRedis) -> None:
    with connect(redis.url) as client:
        client.config_set("maxmemory", "1")
    assert outcomes(redis, 1) == [Phase.FAIL]
    assert redis.values() == []


def test_redis_a_write_without_an_answer_is_unknown(redis: RunningRedis) -> None:
    node = redis.everything[0].node
    told: list[Phase] = []
    writer = redis.writer()
    writer.write(1, told.append)
    node.pause()
    writer.write(2, told.append)
    node.resume()
    writer.write(3, told.append)
    node.kill()
    writer.write(4, told.append)
    writer.write(5, told.append)
    # Nobody listened any more when it wanted to connect for the last one.
    assert told == [Phase.OK, Phase.UNKNOWN, Phase.OK, Phase.UNKNOWN, Phase.FAIL]
    assert redis.bring_back() == ""
    assert redis.values() in ([1, 3], [1, 2, 3])


def test_redis_a_write_that_no_replica_confirms_is_unknown(workspace: Workspace) -> None:
    folder = workspace.new_folder("redis")
    alone = RedisSystem("test", AOF, "", confirm=("WAIT", 1, 50))
    with alone.run(Plain(folder), folder) as running:
        assert outcomes(running, 1) == [Phase.UNKNOWN]
        assert running.values() == [1]
    folder = workspace.new_folder("redis")
    on_disk = RedisSystem("test", AOF, "", confirm=("WAITAOF", 1, 0, 3000))
    with on_disk.run(Plain(folder), folder) as running:
        assert outcomes(running, 1) == [Phase.OK]


def test_redis_the_next_reader_gets_what_the_last_one_left(
    redis: RunningRedis, tmp_path: Path
) -> None:
    assert redis.group_position() == (0, 0)
    outcomes(redis, *range(1, 21))
    first = redis.consumer()
    # What is pending comes first, and there is nothing.
    assert first.take() == []
    taken = first.take()
    assert first.position == redis.group_position()
    first.acknowledge(taken[:5])
    with Journal(tmp_path / "history.jsonl") as journal:
        drain(redis.consumer(), journal, patience_s=30)
    delivered = [op.value for op in read(tmp_path / "history.jsonl") if op.phase == "ok"]
    assert set(delivered) == set(range(6, 21))
    redis.everything[0].node.kill()
    with pytest.raises(ServerGoneError):
        first.take()


def test_redis_that_refuses_to_start_is_repaired(redis: RunningRedis) -> None:
    """As after a power cut on ext4: the file has its length, but its end is NUL.

    A command that is cut off in the middle would be taken for a short file, and dropped.
    """
    outcomes(redis, *range(1, 101))
    target = redis.everything[0]
    target.node.kill()
    (log,) = target.disk.storage.folder.glob("appendonlydir/*.incr.aof")
    written = log.read_bytes()
    whole = written.index(b"*", len(written) - 500)
    log.write_bytes(written[:whole].ljust(len(written), b"\0"))
    refused = redis.bring_back()
    assert refused.startswith("Bad file format reading the append only file")
    assert redis.values() == list(range(1, len(redis.values()) + 1))
    assert 90 < len(redis.values()) < 100
    with pytest.raises(Exception, match="redis-check-aof failed"):
        repair(target.disk.storage.folder / "appendonlydir")


def test_last_words_are_the_last_line() -> None:
    assert last_words("1:M 24 Nov 2026 12:00:00.000 # Bad file\n\n") == "Bad file"
    assert last_words("one\ntwo") == "two"
    assert last_words("# Bad file.          Fix it.") == "# Bad file. Fix it."


def test_kafka_only_a_refusal_is_a_failure() -> None:
    assert phase_of(NotEnoughReplicasError()) is Phase.FAIL
    assert phase_of(NotEnoughReplicasAfterAppendError()) is Phase.UNKNOWN
    assert phase_of(KafkaTimeoutError()) is Phase.UNKNOWN


def test_kafka_what_is_written_is_read_in_order_and_by_the_group(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = workspace.new_folder("kafka")
    told: list[Phase] = []
    with KafkaSystem("test", {}, "").run(Plain(folder), folder) as running:
        assert running.group_position() is None
        writer = running.writer()
        for value in (3, 1, 2):
            writer.write(value, told.append)
        writer.close()
        assert told == [Phase.OK] * 3
        assert running.values() == [3, 1, 2]
        with Journal(tmp_path / "history.jsonl") as journal:
            reader = running.consumer()
            drain(reader, journal, patience_s=30)
            # Three records, and the mark at the end of the log.
            assert reader.position == running.group_position() == (4,)
            drain(running.consumer(), journal, patience_s=30)
        history = read(tmp_path / "history.jsonl")
    assert [op.value for op in history if op.action == "deliver"] == [3, 1, 2]
