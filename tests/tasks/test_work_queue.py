"""Share jobs among workers: both settle one by one; who counts and who drops differs."""

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import pytest
from confluent_kafka import (
    Consumer,
    KafkaException,
    Producer,
    ShareConsumer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)
from redis import Redis, ResponseError

from snippets.kafka import confluent_settings, temporary_topic
from snippets.kafka import work_queue as kafka_task
from snippets.redis_streams import work_queue as redis_task
from snippets.servers import Kafka
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event

JOBS: list[dict[Any, Any]] = [{"picture": str(number)} for number in range(4)]
Handle = Callable[[Event, int], str]
OwnKafka = Callable[..., AbstractContextManager[Kafka]]


class Queue(Protocol):
    """A queue of jobs, and its workers."""

    def put(self, job: Event) -> None:
        """Put a job."""

    def work(self, worker: str, handle: Handle) -> int:
        """Let a worker take the next job, for which it waits if there must be one."""

    def die(self, worker: str) -> None:
        """Let a process take the next job that is killed by it."""

    def is_empty(self) -> bool:
        """Tell whether no worker gets anything."""


class RedisQueue:
    """A stream and a group."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Create the group."""
        self._redis, self._stream = redis, stream
        redis_task.join(redis, stream, "resizers")

    def put(self, job: Event) -> None:
        """Append an entry."""
        fields: dict[Any, Any] = dict(job)
        self._redis.xadd(self._stream, fields)

    def work(self, worker: str, handle: Handle) -> int:
        """Take an entry."""
        return redis_task.work(self._redis, self._stream, "resizers", worker, handle)

    def die(self, worker: str) -> None:
        """Take an entry that kills its worker, and let it be idle for long enough."""
        killed(
            """
            from snippets.redis_streams import connect
            from snippets.redis_streams.work_queue import work
            _, stream, worker = sys.argv
            work(connect(), stream, "resizers", worker, die)
            """,
            *(self._stream, worker),
        )
        (job,) = self._redis.xpending_range(
            self._stream, "resizers", "-", "+", 1, consumername=worker
        )
        ids: Any = [job["message_id"]]
        self._redis.xclaim(
            self._stream, "resizers", worker, 0, ids, idle=30_000, justid=True
        )

    def is_empty(self) -> bool:
        """Read without waiting."""
        taken = redis_task.work(
            *(self._redis, self._stream, "resizers", "looker", accept), 0, block_ms=1
        )
        return not taken


class KafkaQueue:
    """A topic of one partition and a share group."""

    def __init__(self, topic: str, stack: ExitStack) -> None:
        """Close the workers with the stack."""
        self._topic, self._stack = topic, stack
        self._producer = Producer(confluent_settings())
        self._workers: dict[str, ShareConsumer] = {}

    def put(self, job: Event) -> None:
        """Append a record, in a batch of its own."""
        self._producer.produce(self._topic, json.dumps(job))
        self._producer.flush()

    def work(self, worker: str, handle: Handle) -> int:
        """Take a record."""
        return kafka_task.work(self._worker(worker), handle, PATIENCE_S)

    def die(self, worker: str) -> None:  # noqa: ARG002
        """Take a record that kills its worker."""
        die_of_a_record(self._topic)

    def is_empty(self) -> bool:
        """Look whether one more record is the next that comes."""
        self.put({"picture": "last"})
        found: list[Event] = []
        self.work("looker", noting(found))
        return found == [{"picture": "last"}]

    def _worker(self, name: str) -> ShareConsumer:
        if name not in self._workers:
            joined = kafka_task.join(self._topic, self._topic, confluent_settings())
            self._workers[name] = self._stack.enter_context(joined)
        return self._workers[name]


def killed(code: str, *arguments: str) -> None:
    """Run a worker in a process of its own that ends by SIGKILL."""
    head = "import os, sys\n\ndef die(job, deliveries):\n    os.kill(os.getpid(), 9)\n\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def die_of_a_record(topic: str) -> None:
    """Let a worker of the share group named after the topic be killed by its record."""
    killed(
        """
        from snippets.kafka import confluent_settings
        from snippets.kafka.work_queue import join, work
        topic = sys.argv[1]
        work(join(topic, topic, confluent_settings()), die, timeout_s=60)
        """,
        topic,
    )


def accept(job: Event, deliveries: int) -> str:  # noqa: ARG001
    """Accept any job."""
    return "accept"


def noting(found: list[Event], answer: str = "accept") -> Handle:
    """Make a handler that notes the jobs."""

    def handle(job: Event, deliveries: int) -> str:  # noqa: ARG001
        found.append(job)
        return answer

    return handle


def set_group(group: str, name: str, value: str) -> None:
    """Change a setting of a share group."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(
        ConfigResource.Type.GROUP, group, incremental_configs=[entry]
    )
    admin = AdminClient(confluent_settings())
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result()


@contextmanager
def kafka_queue(topic: str) -> Iterator[Queue]:
    """Close the workers at the end."""
    with ExitStack() as stack:
        yield KafkaQueue(topic, stack)


@pytest.fixture(params=["redis_streams", "kafka"])
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    """A queue of each system that only this test uses."""
    if request.param == "redis_streams":
        redis = request.getfixturevalue("redis")
        yield RedisQueue(redis, request.getfixturevalue("stream"))
    else:
        with kafka_queue(request.getfixturevalue("topic")) as made:
            yield made


def test_each_job_goes_to_one_worker_that_has_time(queue: Queue) -> None:
    for job in JOBS:
        queue.put(job)
    found: list[Event] = []

    def slow(job: Event, deliveries: int) -> str:
        # While this one works, another takes all the rest.
        for _ in JOBS[1:]:
            queue.work("worker-2", noting(found))
        return noting(found)(job, deliveries)

    assert queue.work("worker-1", slow) == 1
    assert found == [*JOBS[1:], JOBS[0]]
    assert queue.is_empty()


def test_a_released_job_goes_to_the_next_who_asks_with_its_count(queue: Queue) -> None:
    queue.put(JOBS[0])
    counts: list[int] = []

    def release_twice(job: Event, deliveries: int) -> str:
        assert job == JOBS[0]
        counts.append(deliveries)
        return "release" if deliveries < 3 else "accept"

    for worker in ("worker-1", "worker-2", "worker-1"):
        assert queue.work(worker, release_twice) == 1
    assert counts == [1, 2, 3]
    assert queue.is_empty()


def test_a_rejected_job_comes_to_nobody_again(queue: Queue) -> None:
    for job in JOBS[:2]:
        queue.put(job)
    found: list[Event] = []
    queue.work("worker-1", noting(found, "reject"))
    queue.work("worker-1", noting(found))
    assert found == JOBS[:2]
    assert queue.is_empty()


@pytest.mark.parametrize("answer", ["", "done"])
def test_a_job_is_released_when_its_handler_fails_or_answers_nonsense(
    queue: Queue, answer: str
) -> None:
    queue.put(JOBS[0])

    def fail(job: Event, deliveries: int) -> str:  # noqa: ARG001
        if not answer:
            raise LookupError("no such picture")
        return answer

    with pytest.raises(LookupError, match=answer or "no such picture"):
        queue.work("worker-1", fail)
    found: list[Event] = []
    queue.work("worker-2", noting(found))
    assert found == [JOBS[0]]
    assert queue.is_empty()


def test_the_job_of_a_killed_worker_is_done_by_another(queue: Queue) -> None:
    queue.put(JOBS[0])
    queue.die("worker-1")
    found: list[int] = []

    def note(job: Event, deliveries: int) -> str:
        assert job == JOBS[0]
        found.append(deliveries)
        return "accept"

    queue.work("worker-2", note)
    assert found == [2]
    assert queue.is_empty()


def test_redis_counts_on_where_kafka_gives_up(redis: Redis, stream: str) -> None:
    redis.xadd(stream, JOBS[0])
    redis_task.join(redis, stream, "resizers")
    for _ in range(20):
        redis_task.work(redis, stream, "resizers", "worker-1", noting([], "release"))
    (pending,) = redis.xpending_range(stream, "resizers", "-", "+", 10)
    assert pending["times_delivered"] == 20


@claim(servers="redis", since="8.8")
def test_redis_nack_does_not_ask_who_has_the_entry(redis: Redis, stream: str) -> None:
    """`XNACK` names no consumer: from one whose entry another has claimed meanwhile it is
    accepted, and a third gets the entry beside the second.
    """
    job_id = redis.xadd(stream, JOBS[0])
    redis.xgroup_create(stream, "resizers", id="0")
    taken: list[Any] = []
    for worker, min_idle_ms in (("worker-1", 0), ("worker-2", 0)):
        taken += redis.xreadgroup(
            "resizers", worker, {stream: ">"}, claim_min_idle_time=min_idle_ms
        )
    assert redis.xnack(stream, "resizers", "FAIL", job_id) == 1
    taken += redis.xreadgroup(
        "resizers", "worker-3", {stream: ">"}, claim_min_idle_time=3_600_000
    )
    assert [entries[0][:2] for _, entries in taken] == [(job_id, JOBS[0])] * 3


def test_redis_late_worker_releases_nothing_of_others(redis: Redis, stream: str) -> None:
    redis.xadd(stream, JOBS[0])
    redis_task.join(redis, stream, "resizers")
    found: list[Event] = []

    def be_overtaken(job: Event, deliveries: int) -> str:  # noqa: ARG001
        redis.xreadgroup("resizers", "worker-2", {stream: ">"}, claim_min_idle_time=0)
        return "release"

    redis_task.work(redis, stream, "resizers", "worker-1", be_overtaken)
    assert not redis_task.work(
        redis, stream, "resizers", "worker-3", noting(found), block_ms=1
    )
    (pending,) = redis.xpending_range(stream, "resizers", "-", "+", 10)
    assert pending["consumer"] == "worker-2"


def test_redis_refuses_what_is_no_queue(redis: Redis, stream: str) -> None:
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_task.work(redis, stream, "resizers", "worker-1", accept)
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.join(redis, stream, "resizers")


def test_redis_joins_a_group_that_is_there(redis: Redis, stream: str) -> None:
    redis_task.join(redis, stream, "resizers")
    redis_task.join(redis, stream, "resizers")
    assert len(redis.xinfo_groups(stream)) == 1


@claim(servers="kafka", since="4.2", client="confluent_kafka")
def test_kafka_share_group_has_no_idle_worker_at_one_partition(topic: str) -> None:
    """Three workers of a Kafka share group hold records of the same partition at the same
    time, each a different one.
    """
    with kafka_queue(topic) as queue:
        for job in JOBS[:3]:
            queue.put(job)
        held: list[Event] = []

        def hold(job: Event, deliveries: int) -> str:
            held.append(job)
            if len(held) < 3:
                queue.work(f"worker-{len(held) + 1}", hold)
            assert (len(held), deliveries) == (3, 1)
            return "accept"

        queue.work("worker-1", hold)
    assert held == JOBS[:3]


@claim(servers="kafka", since="4.2", client="confluent_kafka")
def test_kafka_share_group_drops_what_was_delivered_five_times(topic: str) -> None:
    """A record that was delivered five times and never accepted is dropped by its Kafka
    share group: no worker gets it again, and it stays in the topic.
    """
    with kafka_queue(topic) as queue:
        queue.put(JOBS[0])
        for _ in range(5):
            queue.die("worker")
        queue.put(JOBS[1])
        found: list[Event] = []
        queue.work("worker", noting(found))
        assert found == [JOBS[1]]
    with Consumer({"group.id": f"{topic}-looker", **confluent_settings()}) as looker:
        looker.assign([TopicPartition(topic, 0, 0)])
        record: Any = looker.poll(PATIENCE_S)
    assert json.loads(record.value()) == JOBS[0]


def test_kafka_gives_up_a_released_record_too(topic: str) -> None:
    with kafka_queue(topic) as queue:
        queue.put(JOBS[0])
        for _ in range(5):
            queue.work("worker", noting([], "release"))
        assert queue.is_empty()


def test_kafka_frees_a_killed_workers_record_before_its_lock_runs_out(
    topic: str,
) -> None:
    set_group(topic, "share.record.lock.duration.ms", "60000")
    with kafka_queue(topic) as queue:
        queue.put(JOBS[0])
        queue.die("worker")
        worker = kafka_task.join(topic, topic, confluent_settings())
        with worker:
            assert kafka_task.work(worker, accept, timeout_s=30) == 1


def test_kafka_gives_a_producers_batch_to_one_worker(topic: str) -> None:
    producer = Producer({"linger.ms": 1000, **confluent_settings()})
    for job in JOBS:
        producer.produce(topic, json.dumps(job))
    producer.flush()
    found: list[Event] = []
    with kafka_task.join(topic, topic, confluent_settings()) as worker:
        assert kafka_task.work(worker, noting(found), PATIENCE_S) == len(JOBS)
    assert found == JOBS


def test_kafka_releases_the_rest_of_a_batch_whose_job_failed(topic: str) -> None:
    producer = Producer({"linger.ms": 1000, **confluent_settings()})
    for job in JOBS:
        producer.produce(topic, json.dumps(job))
    producer.flush()
    found: list[tuple[Event, int]] = []

    def fail_once(job: Event, deliveries: int) -> str:
        if job == JOBS[1] and deliveries == 1:
            raise LookupError
        found.append((job, deliveries))
        return "accept"

    with kafka_task.join(topic, topic, confluent_settings()) as worker:
        with pytest.raises(LookupError):
            kafka_task.work(worker, fail_once, PATIENCE_S)
        while len(found) < len(JOBS):
            kafka_task.work(worker, fail_once, PATIENCE_S)
    assert found == [(JOBS[0], 1), *((job, 2) for job in JOBS[1:])]


def test_kafka_refuses_an_acknowledgement_after_the_lock_has_run_out(
    own_kafka: OwnKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A lock is of 15 s at the least, by default.
    with own_kafka(config={"group.share.min.record.lock.duration.ms": "1000"}) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        with temporary_topic() as topic, kafka_queue(topic) as queue:
            set_group(topic, "share.record.lock.duration.ms", "1000")
            queue.put(JOBS[0])
            held: list[Any] = []

            def be_overtaken(job: Event, deliveries: int) -> str:  # noqa: ARG001
                held.extend(heir.poll(PATIENCE_S))
                return "accept"

            with kafka_task.join(topic, topic, confluent_settings()) as heir:
                with pytest.raises(KafkaException, match="INVALID_RECORD_STATE"):
                    queue.work("worker-1", be_overtaken)
                assert [job.delivery_count() for job in held] == [2]
                heir.acknowledge(held[0])
                assert list(heir.commit_sync().values()) == [None]


def test_kafka_refuses_a_consumer_group_and_unknown_settings(topic: str) -> None:
    with Consumer(
        {"group.id": topic, "auto.offset.reset": "earliest", **confluent_settings()}
    ) as consumer:
        consumer.subscribe([topic])
        with kafka_queue(topic) as queue:
            queue.put(JOBS[0])
            record: Any = consumer.poll(PATIENCE_S)
            assert not record.error()
            with pytest.raises(KafkaException, match="GROUP_ID_NOT_FOUND"):
                queue.work("worker", accept)
    with pytest.raises(KafkaException, match="No such configuration property"):
        kafka_task.join(topic, topic, {"no.such": "1", **confluent_settings()})


def test_kafka_new_share_group_passes_over_what_is_there(topic: str) -> None:
    with kafka_queue(topic) as queue:
        queue.put(JOBS[0])
        set_group(topic, "share.auto.offset.reset", "latest")
        config = {"share.acknowledgement.mode": "explicit", **confluent_settings()}
        with ShareConsumer({"group.id": topic, **config}) as worker:
            worker.subscribe([topic])
            found: list[Event] = []
            while not found:
                queue.put(JOBS[1])
                kafka_task.work(worker, noting(found), timeout_s=0.5)
    assert JOBS[0] not in found
