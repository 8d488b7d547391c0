"""Scale consumers: run several workers on one topic, and see what each of them has.

Example:
    ```py
    from threading import Event

    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.scale_consumers import run_workers

    with temporary_topic() as orders:
        with KafkaProducer(**settings()) as producer:
            producer.send(orders, b'{"sku": "tea"}')
        done = Event()

        def handle(event: dict[str, str]) -> None:
            print(event)
            #> {'sku': 'tea'}
            done.set()

        print(run_workers(orders, "billing", ["worker-1"], handle, done, **settings()))
        #> {'worker-1': 1}
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, OffsetAndMetadata

# --8<-- [end:imports]
# isort: split
from threading import Lock

from kafka import KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:run_workers]
def run_workers(
    topic: str,
    group: str,
    workers: Sequence[str],
    handle: Callable[[dict[str, str]], None],
    stop: Event,
    timeout_ms: int = 100,
    **client: Any,
) -> dict[str, int]:
    """Let several workers share the partitions of a topic, until they are told to stop.

    Each worker has a consumer of its own, since one can't be used by two threads. As many
    workers have something to do as there are partitions. A record that takes long holds
    up those behind it in its partition, and any rebalance.

    Args:
        topic: The topic.
        group: The group's name.
        workers: The workers' names, which the group shows as client IDs.
        handle: Does the work for one event, in several threads at once, in less than
            `max.poll.interval.ms`; it may see an event twice.
        stop: Set this, and each worker ends after the record it has.
        timeout_ms: How many milliseconds to wait for a record before looking at `stop`.
        client: The connection settings, and whatever else the consumers are to have.

    Returns:
        How many records each worker has handled.

    Raises:
        ValueError: There is no worker, or a name occurs twice.
        kafka.errors.CommitFailedError: The work took too long, and the group has given
            the partition to another worker, which handles the record again.
        Exception: What `handle` raises, after the other workers have stopped; the record
            comes again.

    Source:
        https://kafka.apache.org/43/javadoc/org/apache/kafka/clients/consumer/KafkaConsumer.html
    """
    if not workers or len(set(workers)) < len(workers):
        raise ValueError(f"no workers, or not of different names: {workers}")

    def work(worker: str) -> int:
        handled = 0
        try:
            with KafkaConsumer(
                topic,
                group_id=group,
                client_id=worker,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                **client,
            ) as consumer:
                # kafka-python 3.0.12 may forget a rebalance that outlasts a `poll`, if it
                # has only just learned of the partitions: let it learn of them first.
                consumer.partitions_for_topic(topic)
                while not stop.is_set():
                    batch = consumer.poll(timeout_ms=timeout_ms, max_records=1)
                    for partition, records in batch.items():
                        handle(json.loads(records[0].value))
                        next_offset = OffsetAndMetadata(records[0].offset + 1, "", -1)
                        consumer.commit({partition: next_offset})
                        handled += 1
        except BaseException:
            stop.set()
            raise
        return handled

    with ThreadPoolExecutor(len(workers)) as pool:
        handled = pool.map(work, workers)
        try:
            return dict(zip(workers, handled, strict=True))
        finally:
            # After Ctrl-C too, which only this thread gets to know of.
            stop.set()


# --8<-- [end:run_workers]


# --8<-- [start:members]
def members(admin: KafkaAdminClient, topic: str, group: str) -> dict[str, int]:
    """Tell how much each consumer of the group has at this moment.

    Args:
        admin: The admin client.
        topic: The topic.
        group: The group's name.

    Returns:
        How many partitions of the topic each consumer has, by its client ID; 0 for one
        that is idle. Empty if there is no such group.

    Source:
        https://kafka.apache.org/43/operations/basic-kafka-operations/#managing-groups
    """
    found: dict[str, int] = {}
    for member in admin.describe_groups([group])[group]["members"]:
        # There is none yet while the group rebalances.
        assignment = member["member_assignment"] or {"assigned_partitions": []}
        found[member["client_id"]] = sum(
            len(each["partitions"])
            for each in assignment["assigned_partitions"]
            if each["topic"] == topic
        )
    return found


# --8<-- [end:members]


def demo() -> None:
    """Let the first of six orders take long, and see who waits for it."""
    stop, lock, others_done = Event(), Lock(), Event()
    done: list[str] = []

    def handle(event: dict[str, str]) -> None:
        if event["order"] == "0":
            print("order 0 takes as long as all that don't wait for it")
            others_done.wait()
            print("done meanwhile:", sorted(done))
        with lock:
            done.append(event["order"])
            if sorted(done) == ["1", "3", "5"]:
                others_done.set()
            if sorted(done) == ["0", "1", "2", "3", "4", "5"]:
                stop.set()

    with temporary_topic(partitions=2) as orders, ThreadPoolExecutor(1) as pool:
        group = f"{orders}-billing"
        names = ["worker-1", "worker-2", "worker-3"]
        # Sooner than every three seconds they ask whether somebody has joined.
        options = {"heartbeat_interval_ms": 200, **settings()}
        running = pool.submit(run_workers, orders, group, names, handle, stop, **options)
        found: list[int] = []
        with KafkaAdminClient(**settings()) as admin:
            while found != [0, 1, 1]:
                found = sorted(members(admin, orders, group).values())
        print("partitions, by worker:", found)
        print("orders 0, 2, 4 go to one partition, orders 1, 3, 5 to the other")
        with KafkaProducer(**settings()) as producer:
            for number in range(6):
                event = json.dumps({"order": str(number)}).encode()
                producer.send(orders, event, partition=number % 2)
        handled = running.result()
    print(f"{len(handled)} workers handled {sum(handled.values())} orders")
    print("by worker:", sorted(handled.values()))


if __name__ == "__main__":
    demo()
