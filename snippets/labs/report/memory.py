"""What the site shows of the lab on memory: see `docs/evidence/memory.md`."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

from snippets.labs import sizing
from snippets.labs.memory.lab import CODECS, QUANTITIES, at
from snippets.labs.memory.record import Memory, Quantity
from snippets.labs.memory.shapes import (
    AppendShape,
    EntryShape,
    PendingShape,
    ReadShape,
    RecordShape,
)
from snippets.labs.report.chart import Bar, bars
from snippets.labs.report.tables import anchor, wrap

NOT_RECORDED = "This is not recorded yet: `nox -s labs -- memory` does it."
TABLE_NOT_RECORDED = "Not recorded yet."
FEW = 10

# The events of which the page speaks: one field, its name as short as most.
SMALL, LARGE = 100, 1000
NAME_BYTES = 5
# How the two are compared: one replica of Redis, and three of Kafka.
REPLICAS, REPLICATION, BATCH = 1, 3, 100

Constants = Mapping[str, Mapping[str, float]]


def amount(number: float) -> str:
    """Return bytes as the pages write them: whole, unless there are few."""
    return f"{number:,.1f}" if number < FEW else f"{number:,.0f}"


def _entry(constants: Constants, value_bytes: int) -> float:
    shape = EntryShape(1, NAME_BYTES, value_bytes)
    return shape.predict(constants["redis/entry"])


def _pending(constants: Constants, groups: int) -> float:
    """Return what an entry takes that is pending in so many groups, in all of them."""
    return groups * PendingShape(groups).predict(constants["redis/pending"])


def _append(constants: Constants, value_bytes: int) -> float:
    shape = AppendShape(1, NAME_BYTES, value_bytes)
    return shape.predict(constants["redis/append-log"])


def _read(constants: Constants, count: int, mode: str = "XACK") -> float:
    return ReadShape(count, mode).predict(constants["redis/read-log"])


def _record(constants: Constants, value_bytes: int, records: int) -> float:
    return RecordShape(records, value_bytes).predict(constants["kafka/record"])


def _said_of_entries(_: Memory, constants: Constants) -> str:
    small, large = _entry(constants, SMALL), _entry(constants, LARGE)
    return (
        f"An entry with one field of {SMALL} B takes {amount(small)} B of memory, and "
        f"one of {LARGE:,} B takes {amount(large)} B."
    )


def _said_of_names(found: Memory, _: Constants) -> str:
    own = found.cells["redis/entry"]
    shape = {"fields": 4, "name_bytes": 8, "value_bytes": 20, "apart_ms": 1}
    same = at(own, **shape, same_names=True)
    unlike = at(own, **shape, same_names=False)
    return (
        f"Four fields of 20 B with names of 8 B take {amount(same)} B if all entries "
        f"have the same names, and {amount(unlike)} B if no name comes twice."
    )


def _said_of_steps(found: Memory, _: Constants) -> str:
    own = found.cells["redis/entry"]
    sizes = (200, 500, 1000, 2000, 5000)
    parts = []
    for size in sizes:
        took = at(own, fields=1, name_bytes=5, value_bytes=size)
        parts.append(f"{took / size - 1:.0%} at {size:,} B")
    return f"What an entry takes beyond its value: {', '.join(parts)}."


def _said_of_pending(_: Memory, constants: Constants) -> str:
    one, two = _pending(constants, 1), _pending(constants, 2)
    return (
        f"An entry that is delivered and not acknowledged takes {amount(one)} B more, "
        f"and {amount(two - one)} B more for each further group in which it is pending. "
        f"A million of them in one group are {amount(one)} MB."
    )


def _said_of_groups(found: Memory, _: Constants) -> str:
    values = found.cells["redis/group"].values
    return (
        f"A group takes {amount(values['group'])} B, and each of its consumers "
        f"{amount(values['consumer'])} B and its name."
    )


def _said_of_reads(_: Memory, constants: Constants) -> str:
    return (
        f"An `XADD` of {SMALL} B writes {amount(_append(constants, SMALL))} B to the "
        "append-only file, and sends as many to each replica. To read that entry through "
        f"a group and acknowledge it writes {amount(_read(constants, 1))} B with "
        f"`COUNT 1`, {amount(_read(constants, 10))} B with `COUNT 10`, and "
        f"{amount(_read(constants, 100))} B with `COUNT 100`. With `NOACK` it is "
        f"{amount(_read(constants, 1, 'NOACK'))} B a read, however many it delivers."
    )


def _said_of_snapshots(found: Memory, _: Constants) -> str:
    own = found.cells["redis/snapshot"]
    changed = 5_000
    append, acknowledge = (
        at(own, work=work, entries=changed) * changed / 1e6
        for work in ("append", "acknowledge")
    )
    return (
        "While a snapshot was written of 50,000 entries, all of them pending, "
        f"{changed:,} appends made the kernel copy {append:.1f} MB, and {changed:,} "
        f"acknowledgments, spread over the list, {acknowledge:.1f} MB."
    )


def _said_of_records(_: Memory, constants: Constants) -> str:
    alone, among = (_record(constants, SMALL, count) for count in (1, BATCH))
    large = _record(constants, LARGE, BATCH)
    return (
        f"A record with a value of {SMALL} B takes {amount(alone)} B on the disk of each "
        f"replica if it is alone in its batch, and {amount(among)} B among {BATCH}; one "
        f"of {LARGE:,} B among {BATCH} takes {amount(large)} B."
    )


def _ratio(found: Memory, codec: str, records: int, size: int) -> float:
    """Return compressed bytes over those of the same batch without compression."""
    took = at(found.cells[f"kafka/{codec}"], records=records, value_bytes=size)
    return took / RecordShape(records, size).predict(found.cells["kafka/record"].values)


def _said_of_codecs(found: Memory, _: Constants) -> str:
    alone = [f"{_ratio(found, codec, 1, 300):.0%} with {codec}" for codec in CODECS]
    among = [f"{_ratio(found, codec, BATCH, 300):.0%} with {codec}" for codec in CODECS]
    return (
        f"Orders of 300 B as JSON shrink to {', '.join(among)} in batches of {BATCH}; "
        f"alone in a batch, to {', '.join(alone)}."
    )


def _said_of_commits(found: Memory, _: Constants) -> str:
    own = found.cells["kafka/commit"]
    one, four = (
        at(own, partitions=count, group_bytes=7, topic_bytes=6) for count in (1, 4)
    )
    return (
        f"A commit of one partition's offset adds {amount(one)} B to "
        f"`__consumer_offsets`, and of four partitions at once {amount(four)} B, "
        "however many records that acknowledges."
    )


def _bought(constants: Constants, size: int, ratio: float) -> tuple[float, float]:
    """Return the bytes of memory and of disk that are bought to keep one event."""
    load = sizing.Load(1, size, name_bytes=NAME_BYTES)
    memory = sizing.redis_memory_to_buy_bytes(
        sizing.redis_stream_bytes(constants, load, 1), REPLICAS
    )
    record = sizing.kafka_record_bytes(constants, load, BATCH, ratio)
    return memory, sizing.kafka_disk_bytes(record, 1, 1, REPLICATION)


def _said_of_prices(found: Memory, constants: Constants) -> str:
    parts = []
    for size, like in ((SMALL, 100), (LARGE, 1000)):
        ratio = _ratio(found, "zstd", BATCH, like)
        memory, plain = _bought(constants, size, 1.0)
        _, packed = _bought(constants, size, ratio)
        parts.append(
            f"An event of {size:,} B takes {amount(memory)} B of memory, and "
            f"{amount(plain)} B of disk, or {amount(packed)} B where zstd makes it "
            f"{ratio:.0%}: memory is the dearer place as soon as a byte of it costs more "
            f"than {plain / memory:.1f} times a byte of disk, or {packed / memory:.2f} "
            "times with zstd."
        )
    return " ".join(parts)


SENTENCES: dict[str, Callable[[Memory, Constants], str]] = {
    "entries": _said_of_entries,
    "names": _said_of_names,
    "steps": _said_of_steps,
    "pending": _said_of_pending,
    "groups": _said_of_groups,
    "reads": _said_of_reads,
    "snapshots": _said_of_snapshots,
    "records": _said_of_records,
    "codecs": _said_of_codecs,
    "commits": _said_of_commits,
    "prices": _said_of_prices,
}


def _sentences(found: Memory | None, constants: Constants) -> str:
    return "\n".join(
        f"--8<-- [start:{name}]\n{say(found, constants) if found else NOT_RECORDED}\n"
        f"--8<-- [end:{name}]\n"
        for name, say in SENTENCES.items()
    )


def _places(found: Memory, constants: Constants) -> list[Bar]:
    """Return what an event of 100 B costs, place by place."""
    zstd = _ratio(found, "zstd", BATCH, SMALL) * _record(constants, SMALL, BATCH)
    costs = [
        ("Redis: in memory", _entry(constants, SMALL), "redis"),
        ("Redis: more while pending in a group", _pending(constants, 1), "redis"),
        ("Redis: XADD in the file, to a replica", _append(constants, SMALL), "redis"),
        ("Redis: group read, XACK, COUNT 1", _read(constants, 1), "redis"),
        ("Redis: group read, XACK, COUNT 100", _read(constants, 100), "redis"),
        ("Kafka: on disk, alone in its batch", _record(constants, SMALL, 1), "kafka"),
        ("Kafka: on disk, batch of 100", _record(constants, SMALL, BATCH), "kafka"),
        ("Kafka: on disk, batch of 100, zstd", zstd, "kafka"),
    ]
    return [Bar(label, value, f"{amount(value)} B", own) for label, value, own in costs]


def _places_table(rows: Sequence[Bar]) -> str:
    label = f"What an event of {SMALL} bytes costs, in bytes"
    lines = [
        f'<tr><th scope="row">{escape(each.label)}</th>'
        f'<td data-head="Bytes">{escape(each.said)}</td></tr>'
        for each in rows
    ] or [f'<tr><td colspan="2">{TABLE_NOT_RECORDED}</td></tr>']
    return wrap(label, "runs", ["Place", "Bytes"], lines)


HEADS = ("Shape", "Measured", "Model", "Off by", "Seen by the fit")


def _table(name: str, what: str, quantity: Quantity | None) -> str:
    """Return all points of a quantity, below a head with its permalink."""
    if quantity is None:
        rows = [f'<tr><td colspan="{len(HEADS)}">{TABLE_NOT_RECORDED}</td></tr>']
        ran = f"nox -s labs -- memory --cell {name}"
    else:
        rows = []
        for each in quantity.points:
            model = "none" if each.predicted is None else amount(each.predicted)
            off = "" if each.predicted is None else f"{each.error:.1%}"
            cells = (amount(each.measured), model, off, "no" if each.held_out else "yes")
            rest = "".join(
                f'<td data-head="{head}">{said}</td>'
                for head, said in zip(HEADS[1:], cells, strict=True)
            )
            shape = escape(each.shape.label)
            rows.append(f'<tr><th scope="row">{shape}</th>{rest}</tr>')
        versions = ", ".join(" ".join(each) for each in quantity.versions.items())
        ran = f"{quantity.command}, {versions}, {quantity.host.system}, {quantity.date}"
    said = escape(what[:1].upper() + what[1:])
    head = (
        f'<tr id="{anchor(name)}"><th scope="rowgroup" colspan="{len(HEADS)}">{said}'
        f"<small>{escape(ran)}</small></th></tr>"
    )
    return wrap(what, "runs", HEADS, [head, *rows])


CONSTANT_HEADS = ("Quantity", "Constant", "Bytes", "Standard error", "Worst prediction")


def _constants(found: Memory | None) -> str:
    """Return the fitted constants, and how far predictions with them are off."""
    rows = []
    for name, quantity in found.cells.items() if found else ():
        worst = f"{quantity.worst(held_out=True):.1%}"
        for constant, each in quantity.constants.items():
            link = f'<a href="#{anchor(name)}">{escape(name)}</a>'
            cells = (constant, f"{each.bytes:,.2f}", f"{each.error:,.2f}", worst)
            rest = "".join(
                f'<td data-head="{head}">{escape(said)}</td>'
                for head, said in zip(CONSTANT_HEADS[1:], cells, strict=True)
            )
            rows.append(f'<tr><th scope="row">{link}</th>{rest}</tr>')
    if not rows:
        columns = len(CONSTANT_HEADS)
        rows = [f'<tr><td colspan="{columns}">{TABLE_NOT_RECORDED}</td></tr>']
    return wrap("The fitted constants", "runs", CONSTANT_HEADS, rows)


def pieces(found: Memory | None) -> dict[str, str]:
    """Return what the pages include, by the name of the file.

    Args:
        found: What is recorded; None if nothing is.
    """
    whole = (
        found if found and all(each.name in found.cells for each in QUANTITIES) else None
    )
    constants = {name: each.values for name, each in found.cells.items()} if found else {}
    bars_of = _places(whole, constants) if whole else []
    title = f"What an event of {SMALL} bytes costs, in bytes"
    made = {
        "sentences.txt": _sentences(whole, constants),
        "places.svg": bars("memory-places", title, bars_of),
        "places.txt": _places_table(bars_of),
        "constants.txt": _constants(found),
    }
    for each in QUANTITIES:
        file = each.name.replace("/", "_").replace("-", "_")
        quantity = found.cells.get(each.name) if found else None
        made[f"{file}.txt"] = _table(each.name, each.what, quantity)
    return made
