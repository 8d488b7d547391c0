"""Share independent jobs among any number of workers, and settle each on its own.

kafka-python has no share groups; this task uses confluent-kafka, where they are in
preview.

Example:
    ```py
    from confluent_kafka import Producer

    from snippets.kafka import confluent_settings, temporary_topic
    from snippets.kafka.work_queue import join, work

    counts: list[int] = []

    def resize(job: dict[str, str], deliveries: int) -> str:
        counts.append(deliveries)
        return "accept" if deliveries > 1 else "release"

    with temporary_topic() as pictures:
        producer = Producer(confluent_settings())
        producer.produce(pictures, b'{"picture": "1"}')
        producer.flush()
        with join(pictures, "resizers", confluent_settings()) as worker:
            work(worker, resize, timeout_s=30)
            work(worker, resize, timeout_s=30)
    print(counts)
    #> [1, 2]
    ```
"""

# --8<-- [start:imports]
import json
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import AcknowledgeType, ShareConsumer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

# --8<-- [end:imports]
# isort: split
from confluent_kafka import Producer

from snippets.kafka import confluent_settings, temporary_topic


# --8<-- [start:join]
def join(topic: str, group: str, config: Mapping[str, Any]) -> ShareConsumer:
    """Make a worker of a share group that starts at the beginning if it is new.

    Where a share group starts is a setting of the group, which the broker keeps, and its
    default is the end. The group exists from the first `poll` on.

    Args:
        topic: The topic.
        group: The group's name, which no consumer group has.
        config: The connection settings by their names in librdkafka, such as
            `bootstrap.servers`.

    Returns:
        A worker that settles each record by itself, and takes as few as it can.

    Raises:
        confluent_kafka.KafkaException: There is no such setting, or the brokers refuse
            to set the group's.

    Source:
        https://kafka.apache.org/43/configuration/group-configs/
    """
    earliest = ConfigEntry(
        "share.auto.offset.reset",
        "earliest",
        incremental_operation=AlterConfigOpType.SET,
    )
    resource = ConfigResource(
        ConfigResource.Type.GROUP, group, incremental_configs=[earliest]
    )
    admin = AdminClient(dict(config))
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result()
    worker = ShareConsumer(
        {
            "group.id": group,
            "share.acknowledgement.mode": "explicit",
            "max.poll.records": 1,
            **config,
        }
    )
    worker.subscribe([topic])
    return worker


# --8<-- [end:join]


# --8<-- [start:work]
def work(
    worker: ShareConsumer,
    handle: Callable[[dict[str, str], int], str],
    timeout_s: float = 1,
) -> int:
    """Take the next jobs that nobody has, and settle each as its handler says.

    A job that is not settled comes again, up to `group.share.delivery.count.limit` times
    in all: then the group drops it. What was sent as one batch comes together.

    Args:
        worker: A worker with explicit acknowledgement; one thread uses it.
        handle: Does the work for one job, and gets the number of this delivery, from 1
            on. It answers `accept`, `release` for another try by any worker, or `reject`
            to give the job up: store it elsewhere first. All jobs of one call must be
            done within `group.share.record.lock.duration.ms`.
        timeout_s: How many seconds to wait for a job. The first call also has to wait
            until the group has given the worker its partitions.

    Returns:
        How many jobs were taken.

    Raises:
        confluent_kafka.KafkaException: The group is no share group, or the brokers refuse
            an acknowledgement, because the lock has run out: the job comes again.
        KeyError: `handle` answers anything else; this job is released and the rest.
        Exception: What `handle` raises; this job is released and the rest.

    Source:
        https://kafka.apache.org/43/javadoc/org/apache/kafka/clients/consumer/KafkaShareConsumer.html
    """
    types = {
        "accept": AcknowledgeType.ACCEPT,
        "release": AcknowledgeType.RELEASE,
        "reject": AcknowledgeType.REJECT,
    }
    # The client settles by itself what it can't fetch.
    jobs: list[Any] = [job for job in worker.poll(timeout_s) if not job.error()]
    taken = len(jobs)
    try:
        while jobs:
            answer = types[handle(json.loads(jobs[0].value()), jobs[0].delivery_count())]
            worker.acknowledge(jobs.pop(0), answer)
            for error in worker.commit_sync().values():
                if error:
                    raise error
    finally:
        # Or else the next poll is refused.
        for job in jobs:
            worker.acknowledge(job, AcknowledgeType.RELEASE)
        worker.commit_sync()
    return taken


# --8<-- [end:work]


def demo() -> None:
    """Let two workers take jobs in turn, one of which is released and one rejected."""

    def resize(job: dict[str, str], deliveries: int) -> str:
        answer = "accept"
        if job["picture"] == "1" and deliveries == 1:
            answer = "release"
        if job["picture"] == "2":
            answer = "reject"
        print(f"  picture {job['picture']}, delivery {deliveries}: {answer}")
        return answer

    with temporary_topic() as pictures:
        producer = Producer(confluent_settings())
        for number in range(4):
            producer.produce(pictures, json.dumps({"picture": str(number)}))
            # Each goes alone: a batch would go to one worker.
            producer.flush()
        with (
            join(pictures, "resizers", confluent_settings()) as worker_1,
            join(pictures, "resizers", confluent_settings()) as worker_2,
        ):
            workers = {"worker-1": worker_1, "worker-2": worker_2}
            for name in [*workers, *workers, "worker-1"]:
                print(name)
                work(workers[name], resize, timeout_s=30)
            print(f"jobs left {work(worker_1, resize, timeout_s=0.1)}")


if __name__ == "__main__":
    demo()
