"""Measure what records cost on a Kafka broker's disk, by the files of its partitions."""

import json
import random
import string
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from snippets.labs.memory.shapes import (
    CommitShape,
    CompressedShape,
    IndexShape,
    RecordShape,
)
from snippets.servers import ServersError, local
from snippets.servers.interface import Custom, Kafka
from snippets.servers.local.process import Storage

# Enough batches that the mean is stable, and not more records than a second takes.
BATCHES, FEWEST_BATCHES, MOST_RECORDS = 20, 4, 4_000
COMMITS = 50
SEGMENT_BYTES = 2**20
SEGMENTS = 3
OFFSETS_TOPIC = "__consumer_offsets"
# A batch begins with its first offset, and with its length from there on.
HEAD = struct.Struct(">qi")
WAIT_S, POLL_S = 30.0, 0.1
LETTERS = string.ascii_letters

Sent = Sequence[tuple[bytes | None, bytes]]


def order(choice: random.Random, value_bytes: int) -> bytes:
    """Return an order as JSON, with as many items as it takes to be that long.

    Args:
        choice: What customers, articles and prices derive from.
        value_bytes: The length, at least 80.
    """
    said = {
        "order": choice.randrange(10**9),
        "customer": f"c-{choice.randrange(10**5):05d}",
        "at": f"2026-11-24T{choice.randrange(24):02d}:{choice.randrange(60):02d}:00Z",
        "items": [],
    }
    text = json.dumps(said)
    while len(text) < value_bytes:
        item = {
            "sku": f"sku-{choice.randrange(10**4):04d}",
            "quantity": choice.randrange(1, 10),
            "price": choice.randrange(10**4) / 100,
        }
        said["items"] = [*said["items"], item]  # type: ignore[misc]
        text = json.dumps(said)
    return text[:value_bytes].encode()


class Broker:
    """A broker of which the files can be looked at."""

    def __init__(self, server: Kafka, admin: KafkaAdminClient, folder: Path) -> None:
        """Take over a broker.

        Args:
            server: It.
            admin: Makes its topics.
            folder: Where its data are.
        """
        self._server = server
        self._admin = admin
        self._data = folder
        self._topics = 0

    def _new_topic(self, name_bytes: int, partitions: int = 1) -> str:
        self._topics += 1
        name = f"{'t' * name_bytes}{self._topics:03d}"[-name_bytes:]
        config = {"segment.bytes": str(SEGMENT_BYTES)}
        self._admin.create_topics(
            {
                name: {
                    "num_partitions": partitions,
                    "replication_factor": 1,
                    "configs": config,
                }
            }
        )
        return name

    def _files(self, topic: str, ending: str) -> list[Path]:
        return sorted((self._data / f"{topic}-0").glob(f"*.{ending}"))

    def _size(self, topic: str) -> int:
        return sum(each.stat().st_size for each in self._files(topic, "log"))

    def _send(self, topic: str, records: Sent, batch: int, codec: str = "none") -> None:
        """Send records in batches of a size, and make sure that they are.

        Raises:
            ServersError: The producer made others of them.
        """
        producer = Producer(
            {
                "bootstrap.servers": self._server.bootstrap_servers,
                "compression.type": codec,
                "batch.num.messages": batch,
                "batch.size": 900_000,
                "linger.ms": 60_000,
                # It would wait for its id, and the log would have the same bytes.
                "enable.idempotence": False,
                "log_level": 2,
            }
        )
        # A millisecond a batch, as the index of times only has times that are later.
        first = round(time.time() * 1000) - len(records)
        # A batch is sent when it is full, and to flush would divide some. So all are
        # full, and the leader is known before.
        producer.list_topics(topic, WAIT_S)
        for number, (key, value) in enumerate(records):
            at = first + number // batch
            producer.produce(topic, key=key, value=value, partition=0, timestamp=at)
        end = time.monotonic() + WAIT_S
        while len(producer) and time.monotonic() < end:
            producer.poll(POLL_S)
        made = sum(len(list(batches(each))) for each in self._files(topic, "log"))
        if made != len(records) // batch:
            raise ServersError(
                f"{len(records)} records in batches of {batch} came as {made} batches"
            )

    def record(self, shape: RecordShape) -> float:
        """Return the bytes of a record on disk."""
        total = _how_many(shape.records)
        key = b"k" * shape.key_bytes or None
        topic = self._new_topic(8)
        self._send(topic, [(key, b"v" * shape.value_bytes)] * total, shape.records)
        return self._size(topic) / total

    def compressed(self, shape: CompressedShape) -> float:
        """Return the bytes of a record on disk whose batch is compressed."""
        total = _how_many(shape.records)
        choice = random.Random(f"{shape.records}/{shape.value_bytes}")  # noqa: S311
        records = [(None, order(choice, shape.value_bytes)) for _ in range(total)]
        topic = self._new_topic(8)
        self._send(topic, records, shape.records, shape.codec)
        return self._size(topic) / total

    def index(self, shape: IndexShape) -> float:
        """Return the bytes in the indexes of whole segments, a batch."""
        topic = self._new_topic(8)
        # The head of a batch, that of its only record, and the lengths in it.
        value = b"v" * (shape.batch_bytes - 70)
        total = SEGMENTS * SEGMENT_BYTES // shape.batch_bytes
        self._send(topic, [(None, value)] * total, 1)
        # The last segment is still open, and its indexes are as long as they may become.
        whole = [each.with_suffix("") for each in self._files(topic, "log")[:-1]]
        found = sum(len(list(batches(each.with_suffix(".log")))) for each in whole)
        endings = (".index", ".timeindex")
        sizes = [
            each.with_suffix(end).stat().st_size for each in whole for end in endings
        ]
        return sum(sizes) / found

    def commit(self, shape: CommitShape) -> float:
        """Return the bytes in the log of `__consumer_offsets`, an offset commit."""
        topic = self._new_topic(shape.topic_bytes, shape.partitions)
        group = "g" * shape.group_bytes
        parts = [TopicPartition(topic, number) for number in range(shape.partitions)]
        with KafkaConsumer(group_id=group, **self._server.settings) as consumer:
            consumer.assign(parts)
            before = 0
            for number in range(COMMITS + 1):
                consumer.commit(
                    {each: OffsetAndMetadata(number, "", -1) for each in parts}
                )
                # The first one may have made the topic.
                before = before or self._size(OFFSETS_TOPIC)
        return (self._size(OFFSETS_TOPIC) - before) / COMMITS


def batches(log: Path) -> Iterator[int]:
    """Yield the sizes of the batches in a segment."""
    written = log.read_bytes()
    place = 0
    while place < len(written):
        _, length = HEAD.unpack_from(written, place)
        yield HEAD.size + length
        place += HEAD.size + length


def _how_many(in_a_batch: int) -> int:
    """Return how many records are sent: some whole batches."""
    wanted = max(FEWEST_BATCHES, min(BATCHES, MOST_RECORDS // in_a_batch))
    return wanted * in_a_batch


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """Run a broker whose data are in a folder."""

    def storage(_: str) -> Storage:
        return Storage(folder)

    with (
        local.kafka(
            brokers=1, controllers=0, custom=Custom({}), storage=storage
        ) as server,
        KafkaAdminClient(**server.settings) as admin,
    ):
        yield Broker(server, admin, folder / "data")
