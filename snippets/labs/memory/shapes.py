"""What is measured, and the model of what it costs: constants times what a shape has.

A shape says which constants it takes, how often, and what it costs for certain. So one
description serves to fit the constants, to predict, and to size; see `fit` and `sizing`.
"""

from collections.abc import Mapping
from math import ceil, sqrt
from typing import NamedTuple, Protocol

from snippets.labs.record import Part

# The length of a generated entry ID such as `1700000000000-0`.
ID_BYTES = 15

# `stream-node-max-bytes` and `stream-node-max-entries`, as Redis is installed.
NODE_MAX_BYTES = 4096
NODE_MAX_ENTRIES = 100
# A node may not grow beyond this, whatever is configured: `STREAM_LISTPACK_MAX_SIZE`.
NODE_LIMIT = 2**30
# What a listpack takes by `streamAppendItem` in `t_stream.c` and by `listpack.c`: for a
# node, its header and its end, two counters, the number of fields and a terminator; for
# an entry, its flags, what its ID adds to the node's, and the number of its elements;
# for a short string, its length at either end; for the number of fields, where an entry
# has others than the node.
MASTER_BYTES, ENTRY_BYTES, STRING_BYTES, NUMBER_BYTES = 15, 8, 2, 2
# Beyond these lengths a string takes more for its length; see `listpack.c`.
LISTPACK_12_BITS, LISTPACK_32_BITS = 64, 4096

# How many bits fit into how many bytes, the length at its end included.
LISTPACK_NUMBERS = ((7, 2), (12, 3), (15, 4), (23, 5), (31, 6), (64, 10))

# A string has its length before it, in a longer form from here on; see `sds.h`. A node of
# a radix tree that holds a part of a key has a head and a pointer; see `rax.h`.
SDS_SHORT, TREE_BYTES = 32, 12

# Up to this size, jemalloc gives multiples of 16 bytes, then four sizes a doubling.
JEMALLOC_FINE = 128


class Terms(NamedTuple):
    """What a shape costs: `known + sum(times[name] * constants[name])`.

    Attributes:
        known: Bytes that are certain.
        times: How often each constant is in it.
    """

    known: float
    times: Mapping[str, float]


class Shape(Part, frozen=True, tag=True):
    """Something that costs bytes."""

    @property
    def label(self) -> str:
        """What a table calls it."""
        raise NotImplementedError

    def terms(self, constants: Mapping[str, float]) -> Terms:
        """Return what it is made of.

        Args:
            constants: What is known of the constants so far, where that matters.
        """
        raise NotImplementedError

    def predict(self, constants: Mapping[str, float]) -> float:
        """Return how many bytes it costs by the model."""
        known, times = self.terms(constants)
        return known + sum(constants[name] * often for name, often in times.items())


def allocated(size: float) -> float:
    """Return how many bytes jemalloc takes for a block.

    Args:
        size: Bytes that are asked for.
    """
    whole = max(1, ceil(size))
    step = 16 if whole <= JEMALLOC_FINE else 1 << ((whole - 1).bit_length() - 3)
    return ceil(whole / step) * step


def listpack_string(length: int) -> int:
    """Return what a string takes in a listpack.

    Args:
        length: Its bytes. Letters: Redis stores integers in fewer.
    """
    if length < LISTPACK_12_BITS:
        return STRING_BYTES + length
    return STRING_BYTES + length + (1 if length < LISTPACK_32_BITS else 5)


def listpack_number(number: float) -> int:
    """Return what a number that isn't negative takes in a listpack."""
    bits = int(number).bit_length()
    return next(size for most, size in LISTPACK_NUMBERS if bits <= most)


def resp(length: int) -> int:
    """Return what an argument takes in the protocol: `$3`, a line end, itself, another.

    Args:
        length: Its bytes.
    """
    return len(str(length)) + 5 + length


def varint(number: int) -> int:
    """Return how many bytes Kafka's records take for a number that isn't negative."""
    # Zigzag doubles it, and each byte holds seven bits.
    return max(1, ceil((2 * number).bit_length() / 7))


class _Fields(Protocol):
    """What has fields."""

    @property
    def fields(self) -> int:
        """How many."""

    @property
    def name_bytes(self) -> int:
        """The length of each name."""

    @property
    def value_bytes(self) -> int:
        """The length of each value."""


def _fields(shape: _Fields) -> str:
    if shape.fields == 1:
        return f"1 field of {shape.value_bytes:,} B, its name {shape.name_bytes} B"
    return (
        f"{shape.fields} fields of {shape.value_bytes} B, names of {shape.name_bytes} B"
    )


class EntryShape(Shape, frozen=True):
    """An entry of a stream in memory.

    Attributes:
        fields: How many fields it has.
        name_bytes: The length of each field's name.
        value_bytes: The length of each value.
        same_names: Whether all entries have the same fields.
        apart_ms: How many milliseconds lie between two entries.
        node_max_bytes: `stream-node-max-bytes`.
        node_max_entries: `stream-node-max-entries`.
    """

    fields: int
    name_bytes: int
    value_bytes: int
    same_names: bool = True
    apart_ms: int = 1
    node_max_bytes: int = NODE_MAX_BYTES
    node_max_entries: int = NODE_MAX_ENTRIES

    @property
    def label(self) -> str:
        """See `Shape`."""
        names = "" if self.same_names else ", no name twice"
        said = f"{_fields(self)}{names}"
        limits = (self.node_max_bytes, self.node_max_entries)
        if limits != (NODE_MAX_BYTES, NODE_MAX_ENTRIES):
            said += f", nodes of {limits[0]} B or {limits[1]} entries"
        return said if self.apart_ms == 1 else f"{said}, {self.apart_ms} ms apart"

    @property
    def payload_bytes(self) -> int:
        """The bytes of its names and values."""
        return self.fields * (self.name_bytes + self.value_bytes)

    def terms(self, constants: Mapping[str, float]) -> Terms:  # noqa: ARG002
        """See `Shape`: nodes, whose format is known, and what stands beside each one."""
        names = self.fields * listpack_string(self.name_bytes)
        entry = ENTRY_BYTES + self.fields * listpack_string(self.value_bytes)
        first = MASTER_BYTES
        if self.same_names:
            first += names
        else:
            # The node begins with the names of its first entry, which repeats none.
            entry += names + NUMBER_BYTES
            first -= NUMBER_BYTES
        # The ID of an entry in the middle of a node is so far from that of the first.
        middle = self._held(entry, first) / 2 * self.apart_ms
        entry += listpack_number(middle) - listpack_number(0)
        held = self._held(entry, first)
        return Terms(allocated(first + held * entry) / held, {"node": 1 / held})

    def _held(self, entry: int, first: int) -> int:
        """Return how many entries a node holds.

        Args:
            entry: The bytes of one in the node's listpack.
            first: The bytes of what the node begins with.
        """
        limit = self.node_max_bytes or NODE_LIMIT
        # A new one is begun when this one and the text of the next reach the limit.
        room = limit - self.payload_bytes - first
        most = self.node_max_entries or NODE_LIMIT
        return min(most, max(1, ceil(room / entry)))


class PendingShape(Shape, frozen=True):
    """An entry that is delivered and not acknowledged: what it costs in each group.

    Attributes:
        groups: In how many groups it is pending.
        apart_ms: How many milliseconds lie between two entries; 0 if many share one.
    """

    groups: int = 1
    apart_ms: int = 1

    @property
    def label(self) -> str:
        """See `Shape`."""
        apart = f"{self.apart_ms} ms apart" if self.apart_ms else "in one millisecond"
        return f"{self.groups} group{'s' if self.groups > 1 else ''}, {apart}"

    def terms(self, constants: Mapping[str, float]) -> Terms:  # noqa: ARG002
        """See `Shape`: what each group takes, and what all share, is longer alone."""
        kind = "alone" if self.apart_ms else "dense"
        return Terms(
            0, {f"pending, {kind}": 1.0, f"pending anywhere, {kind}": 1 / self.groups}
        )


class GroupShape(Shape, frozen=True):
    """A group with consumers, nothing pending.

    Attributes:
        consumers: How many.
        name_bytes: The length of the group's name, and of each consumer's.
    """

    consumers: int
    name_bytes: int = 12

    @property
    def label(self) -> str:
        """See `Shape`."""
        return f"{self.consumers} consumers, names of {self.name_bytes} B"

    def terms(self, constants: Mapping[str, float]) -> Terms:  # noqa: ARG002
        """See `Shape`: each consumer has its name, and the tree has what they share."""
        head = 2 if self.name_bytes < SDS_SHORT else 4
        shared = allocated(TREE_BYTES + self.name_bytes) if self.consumers else 0
        return Terms(
            self.consumers * allocated(self.name_bytes + head) + shared,
            {"group": 1, "consumer": self.consumers},
        )


class AppendShape(Shape, frozen=True):
    """An `XADD` in the append-only file, and on its way to each replica.

    Attributes:
        fields: How many fields it has.
        name_bytes: The length of each field's name.
        value_bytes: The length of each value.
        key_bytes: The length of the stream's name.
    """

    fields: int
    name_bytes: int
    value_bytes: int
    key_bytes: int = 6

    @property
    def label(self) -> str:
        """See `Shape`."""
        return f"{_fields(self)}, key of {self.key_bytes} B"

    def terms(self, constants: Mapping[str, float]) -> Terms:  # noqa: ARG002
        """See `Shape`: the command with its ID, and each argument as it is sent."""
        pair = resp(self.name_bytes) + resp(self.value_bytes)
        return Terms(resp(self.key_bytes) + self.fields * pair, {"xadd": 1})


class ReadShape(Shape, frozen=True):
    """An entry that is read through a group and acknowledged, in the same places.

    Attributes:
        count: `COUNT`; as many are acknowledged at once.
        mode: `XACK`, `XACKDEL`, `NOACK`, or `none` if it is read and left pending.
        key_bytes: The length of the stream's name.
        group_bytes: The length of the group's name.
        consumer_bytes: The length of the consumer's name.
    """

    count: int
    mode: str = "XACK"
    key_bytes: int = 6
    group_bytes: int = 7
    consumer_bytes: int = 8

    @property
    def label(self) -> str:
        """See `Shape`."""
        ending = {"NOACK": "NOACK", "none": "not acknowledged"}.get(self.mode, self.mode)
        names = self.key_bytes + self.group_bytes + self.consumer_bytes
        return f"COUNT {self.count}, {ending}, names of {names} B in all"

    def terms(self, constants: Mapping[str, float]) -> Terms:  # noqa: ARG002
        """See `Shape`: an `XCLAIM` an entry, an `XGROUP SETID` a read, and the end."""
        names = resp(self.key_bytes) + resp(self.group_bytes)
        each, batch = 0.0, names
        times = {}
        if self.mode == "NOACK":
            times["noack read"] = 1 / self.count
        else:
            each += names + resp(self.consumer_bytes)
            times |= {"claim": 1.0, "read": 1 / self.count}
        if self.mode.startswith("XACK"):
            each += resp(ID_BYTES)
            batch += names
            times[self.mode.lower()] = 1 / self.count
        return Terms(each + batch / self.count, times)


class SnapshotShape(Shape, frozen=True):
    """Memory that is copied while a snapshot is written, an entry that changes.

    Attributes:
        work: What goes on meanwhile: `append` or `acknowledge`.
        entries: How many entries.
        value_bytes: The length of each value.
        pending: How many entries the stream has before, all of them pending.
    """

    work: str
    entries: int
    value_bytes: int = 100
    pending: int = 50_000

    @property
    def label(self) -> str:
        """See `Shape`."""
        return (
            f"{self.work} {self.entries:,} entries of {self.value_bytes} B, "
            f"{self.pending:,} pending"
        )


class RecordShape(Shape, frozen=True):
    """A record in a partition's log, not compressed.

    Attributes:
        records: How many there are in a batch.
        value_bytes: The length of the value.
        key_bytes: The length of the key; 0 for none.
    """

    records: int
    value_bytes: int
    key_bytes: int = 0

    @property
    def label(self) -> str:
        """See `Shape`."""
        key = f", key of {self.key_bytes} B" if self.key_bytes else ""
        return f"batch of {self.records:,}, value of {self.value_bytes} B{key}"

    def terms(self, constants: Mapping[str, float]) -> Terms:
        """See `Shape`: the head of a batch, and of a record without its lengths."""
        # The offset within the batch, as the mean of all.
        offsets = sum(map(varint, range(self.records))) / self.records
        text = self.key_bytes + varint(self.key_bytes)
        text += self.value_bytes + varint(self.value_bytes)
        length = varint(ceil(constants.get("record", 3.0) + text + offsets))
        return Terms(text + offsets + length, {"batch": 1 / self.records, "record": 1})


class CompressedShape(Shape, frozen=True):
    """A record of an order as JSON, in a batch that is compressed.

    Attributes:
        codec: `gzip`, `snappy`, `lz4` or `zstd`.
        records: How many there are in a batch.
        value_bytes: The length of the value, about.
    """

    codec: str
    records: int
    value_bytes: int

    @property
    def label(self) -> str:
        """See `Shape`."""
        return f"{self.codec}, batch of {self.records:,}, JSON of {self.value_bytes} B"

    def terms(self, constants: Mapping[str, float]) -> Terms:  # noqa: ARG002
        """See `Shape`. The roots are for what repeats: in a value, and in the batch.

        No law of a codec is behind them; they describe these orders well enough.
        """
        batch_bytes = self.records * self.value_bytes
        return Terms(
            0,
            {
                "batch": 1 / self.records,
                "record": 1,
                "byte": self.value_bytes,
                "root of the value": sqrt(self.value_bytes),
                "root of the batch": sqrt(batch_bytes) / self.records,
            },
        )


class IndexShape(Shape, frozen=True):
    """The indexes of a partition that stand beside its log, a batch.

    Attributes:
        batch_bytes: The size of the batch.
    """

    batch_bytes: int

    # `log.index.interval.bytes`, as Kafka is installed.
    INTERVAL = 4096

    @property
    def label(self) -> str:
        """See `Shape`."""
        return f"batches of {self.batch_bytes:,} B"

    def terms(self, constants: Mapping[str, float]) -> Terms:  # noqa: ARG002
        """See `Shape`: a place and a time in the indexes for every few batches."""
        batches = self.INTERVAL // self.batch_bytes + 1
        return Terms(0, {"place": 1 / batches})


class CommitShape(Shape, frozen=True):
    """An offset commit in the log of `__consumer_offsets`.

    Attributes:
        partitions: Of how many partitions the offset is committed.
        group_bytes: The length of the group's name.
        topic_bytes: The length of the topic's name.
    """

    partitions: int
    group_bytes: int = 7
    topic_bytes: int = 6

    @property
    def label(self) -> str:
        """See `Shape`."""
        return (
            f"{self.partitions} partitions, group of {self.group_bytes} B, topic of "
            f"{self.topic_bytes} B"
        )

    def terms(self, constants: Mapping[str, float]) -> Terms:  # noqa: ARG002
        """See `Shape`: a batch, and a record with both names for each partition."""
        names = self.partitions * (self.group_bytes + self.topic_bytes)
        return Terms(names, {"commit": 1, "offset": self.partitions})
