"""Scale consumers: all is handled once; who waits for a slow one differs."""

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import CommitFailedError
from redis import Redis, ResponseError

from snippets.kafka import scale_consumers as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.kafka.read_group import join
from snippets.redis_streams import scale_consumers as redis_task
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event, Handle
from tests.tasks.workers import killed

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(12)]
WORKERS = ["worker-1", "worker-2"]
# Sooner than every three seconds they learn that somebody has joined.
QUICK = {"heartbeat_interval_ms": 100}

Run = Callable[[Sequence[str], Handle, threading.Event], dict[str, int]]


@pytest.fixture(params=["redis_streams", "kafka"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Twelve events in a stream or in two partitions, and what runs workers on them."""
    if request.param == "redis_streams":
        redis, stream = (request.getfixturevalue(name) for name in ("redis", "stream"))
        for event in EVENTS:
            redis.xadd(stream, event)
        redis.xgroup_create(stream, "billing", id="0")
        yield lambda workers, handle, stop: redis_task.run_workers(
            redis, stream, "billing", workers, handle, stop, block_ms=10
        )
        return
    producer = request.getfixturevalue("producer")
    with temporary_topic(partitions=2) as topic:
        for number, event in enumerate(EVENTS):
            producer.send(topic, json.dumps(event).encode(), partition=number % 2)
        producer.flush()
        yield lambda workers, handle, stop: kafka_task.run_workers(
            topic, f"{topic}-billing", workers, handle, stop, **QUICK, **settings()
        )


class Counter:
    """Notes events from several threads, and says stop after so many."""

    def __init__(self, stop_after: int) -> None:
        """Begin at none."""
        self.handled: list[Event] = []
        self.stop = threading.Event()
        self._stop_after = stop_after
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Note an event."""
        with self._lock:
            self.handled.append(event)
            if len(self.handled) >= self._stop_after:
                self.stop.set()

    def orders(self) -> list[int]:
        """Return which orders were handled, sorted."""
        return sorted(int(event["order"]) for event in self.handled)


def test_workers_handle_every_event_once(run: Run) -> None:
    counter = Counter(len(EVENTS))
    found = run(WORKERS, counter, counter.stop)
    assert counter.orders() == list(range(12))
    assert list(found) == WORKERS
    assert sum(found.values()) == 12


def test_workers_stop_when_told_and_go_on_later(run: Run) -> None:
    before, after = Counter(3), Counter(9)
    first = run(["worker-1"], before, before.stop)
    assert first == {"worker-1": 3}
    assert run(["worker-1"], after, after.stop) == {"worker-1": 9}
    assert sorted(before.orders() + after.orders()) == list(range(12))


def test_an_event_whose_work_fails_stops_all_workers_and_comes_again(run: Run) -> None:
    counter = Counter(12)

    def fail_at_order_4(event: Event) -> None:
        if event == EVENTS[4]:
            raise LookupError(event)
        counter(event)

    with pytest.raises(LookupError):
        run(WORKERS, fail_at_order_4, counter.stop)
    assert counter.stop.is_set()
    counter.stop.clear()
    run(WORKERS, counter, counter.stop)
    assert counter.orders() == list(range(12))


@pytest.mark.parametrize("workers", [[], ["worker-1", "worker-1"]])
def test_no_workers_or_two_of_one_name_are_refused(run: Run, workers: list[str]) -> None:
    with pytest.raises(ValueError, match="no workers, or not of different names"):
        run(workers, print, threading.Event())


def test_an_interrupt_stops_the_workers(run: Run) -> None:
    stop = threading.Event()
    main_thread = threading.get_ident()
    handled: list[Event] = []

    def interrupt(event: Event) -> None:
        handled.append(event)
        signal.pthread_kill(main_thread, signal.SIGINT)
        assert stop.wait(PATIENCE_S)

    # A run in the background of a shell ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(["worker-1"], interrupt, stop)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(handled) == 1


def test_redis_gives_back_what_a_killed_worker_had(redis: Redis, stream: str) -> None:
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    killed(
        """
        import threading
        from snippets.redis_streams import connect
        from snippets.redis_streams.scale_consumers import run_workers
        def handle(event):
            if event["order"] == "2":
                os.kill(os.getpid(), 9)
        stop = threading.Event()
        run_workers(connect(), sys.argv[1], "billing", ["worker-1"], handle, stop)
        """,
        stream,
    )
    assert redis_task.members(redis, stream, "billing") == {"worker-1": 1}
    counter = Counter(10)
    redis_task.run_workers(redis, stream, "billing", WORKERS, counter, counter.stop)
    assert counter.orders() == list(range(2, 12))
    assert not any(redis_task.members(redis, stream, "billing").values())


def test_redis_passes_over_a_pending_entry_that_was_trimmed(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xtrim(stream, maxlen=0, approximate=False)
    redis.xadd(stream, EVENTS[1])
    counter = Counter(1)
    redis_task.run_workers(redis, stream, "billing", ["worker-1"], counter, counter.stop)
    assert counter.handled == [EVENTS[1]]
    assert redis.xpending(stream, "billing")["pending"] == 0


def test_redis_refuses_a_group_that_is_not_there(redis: Redis, stream: str) -> None:
    redis.xadd(stream, EVENTS[0])
    stop = threading.Event()
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_task.run_workers(redis, stream, "billing", WORKERS, print, stop)
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_task.members(redis, stream, "billing")


@claim(servers="redis", since="5.0")
def test_redis_slow_entry_holds_up_only_its_consumer(redis: Redis, stream: str) -> None:
    """While a consumer of a Redis group works on a slow entry, the others get and
    acknowledge all entries behind it.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "slow", {stream: ">"}, count=1)
    counter = Counter(11)
    redis_task.run_workers(redis, stream, "billing", WORKERS, counter, counter.stop)
    assert counter.orders() == list(range(1, 12))
    pending = redis_task.members(redis, stream, "billing")
    assert pending.pop("slow") == 1
    assert not any(pending.values())


@claim(servers="redis", since="5.0")
def test_redis_consumer_gets_entries_at_its_first_read(redis: Redis, stream: str) -> None:
    """A new consumer of a Redis group gets entries at its first read, even while all
    others are at work.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    taken = []
    for number in range(12):
        batch: Any = redis.xreadgroup("billing", f"worker-{number}", {stream: ">"}, 1)
        taken += [event for _, event in batch[0][1]]
    assert taken == EVENTS
    found = redis_task.members(redis, stream, "billing")
    assert found == {f"worker-{number}": 1 for number in range(12)}


def test_kafka_group_that_is_not_there_has_no_members(topic: str) -> None:
    with KafkaAdminClient(**settings()) as admin:
        assert kafka_task.members(admin, topic, f"{topic}-nobody") == {}


def test_kafka_refuses_the_commit_of_a_worker_that_took_too_long(
    topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, b'{"order": "0"}').get()
    heir = join(topic, f"{topic}-billing", **settings())

    def wait_for_the_heir(_: Event) -> None:
        next(heir)

    fast = {"max_poll_interval_ms": 500, "heartbeat_interval_ms": 100}
    try:
        with pytest.raises(CommitFailedError):
            kafka_task.run_workers(
                topic,
                f"{topic}-billing",
                ["worker-1"],
                wait_for_the_heir,
                threading.Event(),
                **fast,
                **settings(),
            )
    finally:
        heir.close(autocommit=False)


def member(topic: str, **client: Any) -> KafkaConsumer:
    """Make a consumer of the topic's group that knows its partitions before it joins."""
    consumer = join(topic, f"{topic}-billing", **client, **QUICK, **settings())
    consumer.partitions_for_topic(topic)
    return consumer


def until_assigned(members: Sequence[KafkaConsumer], wanted: Sequence[int]) -> None:
    """Poll until so many partitions are assigned to the members, in ascending order.

    Each polls in a thread of its own: in one thread, a poll ends while others have not
    answered, and kafka-python can forget such a rebalance for good.
    """

    def poll(member: KafkaConsumer) -> None:
        while sorted(len(each.assignment()) for each in members) != wanted:
            member.poll(timeout_ms=1000)

    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(poll, members))


@claim(servers="kafka", since="0.9")
def test_kafka_slow_record_holds_up_its_partition(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    """While a Kafka consumer works on a slow record, no other consumer of its group gets
    the records behind it in that partition, idle as it may be.
    """
    with temporary_topic(partitions=2) as topic:
        members = [member(topic) for _ in range(3)]
        try:
            until_assigned(members, [0, 1, 1])
            members.sort(key=lambda each: sorted(each.assignment()), reverse=True)
            of_partition_1, slow, idle = members
            with KafkaProducer(**settings()) as producer:
                for number, event in enumerate(EVENTS):
                    value = json.dumps(event).encode()
                    producer.send(topic, value, partition=number % 2)
            assert json.loads(next(slow).value) == EVENTS[0]
            others = [json.loads(next(of_partition_1).value) for _ in range(6)]
            assert others == EVENTS[1::2]
            for _ in range(3):
                assert of_partition_1.poll(timeout_ms=50) == {}
                assert idle.poll(timeout_ms=50) == {}
        finally:
            for each in members:
                each.close(autocommit=False)


@claim(servers="kafka", since="0.9")
def test_kafka_new_consumer_waits_until_the_others_poll(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    """In Kafka's classic group protocol a new consumer gets no partition before those
    that have them poll again: a member with a slow record holds up the whole rebalance.
    """
    with temporary_topic(partitions=2) as topic, ThreadPoolExecutor(1) as pool:
        group = f"{topic}-billing"
        present, new = member(topic), member(topic)
        try:
            while len(present.assignment()) < 2:
                present.poll(timeout_ms=50)
            # From here on it is at work, and doesn't poll.
            joining = pool.submit(new.poll, timeout_ms=1000)
            with KafkaAdminClient(**settings()) as admin:
                while len(admin.describe_groups([group])[group]["members"]) < 2:
                    continue
            assert joining.result(PATIENCE_S) == {}
            assert new.assignment() == set()
            while len(new.assignment()) < 1:
                present.poll(timeout_ms=50)
                new.poll(timeout_ms=50)
        finally:
            new.close(autocommit=False)
            present.close(autocommit=False)


def test_kafka_python_forgets_a_rebalance_that_outlasts_a_poll(topic: str) -> None:
    # Nobody wants this. When it fails, kafka-python is mended, and the page may say so.
    first = member(topic, client_id="worker-2", metadata_max_age_ms=100)
    second = member(topic, client_id="worker-1")
    try:
        with KafkaProducer(**settings()) as producer:
            producer.send(topic, b"{}")
        assert next(first).offset == 0
        with ThreadPoolExecutor(1) as pool, KafkaAdminClient(**settings()) as admin:
            # It sorts first, so the only partition is its own once it has joined.
            joining = pool.submit(next, second)
            while not joining.done():
                first.poll(timeout_ms=100)
            assert joining.result().offset == 0
            admin.create_partitions({topic: 2})
            found: dict[str, int] = {}
            while found != {"worker-1": 1, "worker-2": 1}:
                # The first one, leader of the group, asks for a rebalance, and its poll
                # ends before the second one has answered.
                first.poll(timeout_ms=100)
                second.poll(timeout_ms=200)
                found = kafka_task.members(admin, topic, f"{topic}-billing")
        for _ in range(3):
            first.poll(timeout_ms=100)
        assert first.assignment() == set()
    finally:
        second.close(autocommit=False)
        first.close(autocommit=False)
