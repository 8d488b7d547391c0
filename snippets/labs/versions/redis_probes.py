"""What a Redis, or a Valkey, does with each feature of its streams.

The probes send commands as they are and take the replies as they come, so that it is the
server that answers, and no client library.
"""

from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from snippets.labs.versions.probe import Missing, Probes, must

COMMANDS = "https://redis.io/docs/latest/commands"
PROBES: Probes[Redis] = Probes((ResponseError,))

GROUP, WORKER, OTHER = "billing", "worker-1", "worker-2"


def client(url: str) -> Redis:
    """Return a client that hands on replies as the server has sent them."""
    redis = Redis.from_url(url, decode_responses=True, protocol=3)
    redis.response_callbacks.clear()
    return redis


def send(redis: Redis, *words: object) -> Any:
    """Send a command."""
    raw: Any = redis
    return raw.execute_command(*map(str, words))


def _two_entries(redis: Redis, key: str) -> None:
    """Append `1-1` and `2-1`, and deliver the first one to a worker of a group."""
    for entry in ("1-1", "2-1"):
        send(redis, "XADD", key, entry, "order", "1")
    send(redis, "XGROUP", "CREATE", key, GROUP, "0")
    send(
        *(redis, "XREADGROUP", "GROUP", GROUP, WORKER, "COUNT", 1),
        *("STREAMS", key, ">"),
    )


def _ids(redis: Redis, key: str) -> list[str]:
    return [entry[0] for entry in send(redis, "XRANGE", key, "-", "+")]


def _pending(redis: Redis, key: str) -> int:
    return int(send(redis, "XPENDING", key, GROUP)[0])


@PROBES.add(
    "Consumer groups", since="5.0", source=f"{COMMANDS}/xreadgroup/", baseline=True
)
def consumer_groups(redis: Redis, key: str) -> None:
    """An entry is delivered, is pending, and is acknowledged."""
    _two_entries(redis, key)
    must(_pending(redis, key), 1, "the number of pending entries")
    must(send(redis, "XACK", key, GROUP, "1-1"), 1, "the reply")


@PROBES.add("`XAUTOCLAIM`", since="6.2", source=f"{COMMANDS}/xautoclaim/", baseline=True)
def xautoclaim(redis: Redis, key: str) -> None:
    """What one worker has in hand goes to another, with no list of IDs."""
    _two_entries(redis, key)
    found = send(redis, "XAUTOCLAIM", key, GROUP, OTHER, 0, "0-0")
    must([entry[0] for entry in found[1]], ["1-1"], "what is claimed")


@PROBES.add("`XADD … NOMKSTREAM`", since="6.2", source=f"{COMMANDS}/xadd/", baseline=True)
def nomkstream(redis: Redis, key: str) -> None:
    """An append makes no stream that is not there."""
    must(send(redis, "XADD", key, "NOMKSTREAM", "*", "order", 1), None, "the reply")
    must(send(redis, "EXISTS", key), 0, "the number of streams")


@PROBES.add("`XTRIM … MINID`", since="6.2", source=f"{COMMANDS}/xtrim/", baseline=True)
def minid(redis: Redis, key: str) -> None:
    """What is older than an ID is deleted."""
    _two_entries(redis, key)
    send(redis, "XTRIM", key, "MINID", "=", "2-0")
    must(_ids(redis, key), ["2-1"], "what is left")


@PROBES.add(
    "Exclusive ranges, `XRANGE … (`",
    since="6.2",
    source=f"{COMMANDS}/xrange/",
    baseline=True,
)
def exclusive_range(redis: Redis, key: str) -> None:
    """A range begins after an ID."""
    _two_entries(redis, key)
    found = send(redis, "XRANGE", key, "(1-1", "+")
    must([entry[0] for entry in found], ["2-1"], "the range")


@PROBES.add(
    "`XPENDING … IDLE`", since="6.2", source=f"{COMMANDS}/xpending/", baseline=True
)
def pending_idle(redis: Redis, key: str) -> None:
    """Pending entries are listed by how long nobody has touched them."""
    _two_entries(redis, key)
    line = ("XPENDING", key, GROUP, "IDLE")
    must(len(send(redis, *line, 0, "-", "+", 9)), 1, "the number of idle entries")
    must(send(redis, *line, 3_600_000, "-", "+", 9), [], "what is idle for an hour")


@PROBES.add("`XADD <ms>-*`", since="7.0", source=f"{COMMANDS}/xadd/")
def partial_id(redis: Redis, key: str) -> None:
    """The client gives the time of an ID, and the server its number."""
    for _ in range(2):
        send(redis, "XADD", key, "5-*", "order", 1)
    must(_ids(redis, key), ["5-0", "5-1"], "the IDs")


@PROBES.add("`lag` in `XINFO GROUPS`", since="7.0", source=f"{COMMANDS}/xinfo-groups/")
def group_lag(redis: Redis, key: str) -> None:
    """The server counts what a group has not been delivered yet."""
    _two_entries(redis, key)
    (group,) = send(redis, "XINFO", "GROUPS", key)
    if "lag" not in group:
        raise Missing(f"`XINFO GROUPS` has {', '.join(group)}")
    must(group["lag"], 1, "the lag")


@PROBES.add(
    "`XGROUP CREATE … ENTRIESREAD`", since="7.0", source=f"{COMMANDS}/xgroup-create/"
)
def entries_read(redis: Redis, key: str) -> None:
    """A new group is told how much of the stream it counts as read."""
    _two_entries(redis, key)
    send(redis, "XGROUP", "CREATE", key, "audit", "1-1", "ENTRIESREAD", 1)
    found = {each["name"]: each for each in send(redis, "XINFO", "GROUPS", key)}
    must(found["audit"]["entries-read"], 1, "`entries-read`")


@PROBES.add(
    "`XAUTOCLAIM` drops deleted entries", since="7.0", source=f"{COMMANDS}/xautoclaim/"
)
def xautoclaim_deleted(redis: Redis, key: str) -> None:
    """A pending entry that was deleted is named, and no longer pending."""
    _two_entries(redis, key)
    send(redis, "XDEL", key, "1-1")
    found = send(redis, "XAUTOCLAIM", key, GROUP, OTHER, 0, "0-0")
    if len(found) == 2:  # noqa: PLR2004 - the place of the list that is to come
        raise Missing(f"the reply is `{found!r}`, without a list of deleted entries")
    must(found[2], ["1-1"], "the list of deleted entries")
    must(_pending(redis, key), 0, "the number of pending entries")


@PROBES.add(
    "ACL rules by key, `%R~…`",
    since="7.0",
    source="https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/",
)
def acl_read_only_key(redis: Redis, key: str) -> None:
    """A user may read a stream, and not write to it."""
    try:
        send(redis, "ACL", "SETUSER", key, f"%R~{key}")
    finally:
        send(redis, "ACL", "DELUSER", key)


@PROBES.add(
    "`inactive` in `XINFO CONSUMERS`",
    since="7.2",
    source=f"{COMMANDS}/xinfo-consumers/",
)
def consumer_inactive(redis: Redis, key: str) -> None:
    """The server tells a consumer that finds nothing from one that is gone."""
    _two_entries(redis, key)
    (consumer,) = send(redis, "XINFO", "CONSUMERS", key, GROUP)
    if "inactive" not in consumer:
        raise Missing(f"`XINFO CONSUMERS` has {', '.join(consumer)}")


@PROBES.add("`WAITAOF`", since="7.2", source=f"{COMMANDS}/waitaof/")
def waitaof(redis: Redis, key: str) -> None:
    """A client asks on how many disks its write is: the server's, and its replicas'."""
    send(redis, "XADD", key, "*", "order", 1)
    # How many these are depends on the server's configuration, and on the moment.
    must(len(send(redis, "WAITAOF", 0, 0, 0)), 2, "the number of counts in the reply")


@PROBES.add("`XREAD … +`", since="7.4", source=f"{COMMANDS}/xread/")
def xread_last(redis: Redis, key: str) -> None:
    """A reader begins with the last entry."""
    _two_entries(redis, key)
    found = send(redis, "XREAD", "STREAMS", key, "+")
    must([entry[0] for entry in found[key]], ["2-1"], "what is read")


@PROBES.add("`HEXPIRE`", since="7.4", source=f"{COMMANDS}/hexpire/")
def hexpire(redis: Redis, key: str) -> None:
    """A field of a hash ends by itself, as for a table of what was seen."""
    send(redis, "HSET", key, "order-1", 1)
    must(send(redis, "HEXPIRE", key, 100, "FIELDS", 1, "order-1"), [1], "the reply")


@PROBES.add("`XDELEX`", since="8.2", source=f"{COMMANDS}/xdelex/")
def xdelex(redis: Redis, key: str) -> None:
    """An entry is deleted with what groups know of it."""
    _two_entries(redis, key)
    must(send(redis, "XDELEX", key, "DELREF", "IDS", 1, "1-1"), [1], "the reply")
    must(_pending(redis, key), 0, "the number of pending entries")


@PROBES.add("`XACKDEL`", since="8.2", source=f"{COMMANDS}/xackdel/")
def xackdel(redis: Redis, key: str) -> None:
    """An entry is acknowledged and deleted in one step."""
    _two_entries(redis, key)
    must(send(redis, "XACKDEL", key, GROUP, "IDS", 1, "1-1"), [1], "the reply")
    must((_ids(redis, key), _pending(redis, key)), (["2-1"], 0), "what is left")


@PROBES.add("`XTRIM … ACKED`", since="8.2", source=f"{COMMANDS}/xtrim/")
def trim_acked(redis: Redis, key: str) -> None:
    """A bound waits for the groups."""
    _two_entries(redis, key)
    send(redis, "XACK", key, GROUP, "1-1")
    send(redis, "XTRIM", key, "MAXLEN", "=", 0, "ACKED")
    must(_ids(redis, key), ["2-1"], "what is left")


@PROBES.add(
    "`XTRIM … ~ … ACKED` deletes",
    since="8.4",
    source="https://github.com/redis/redis/pull/14623",
)
def trim_acked_about(redis: Redis, key: str) -> None:
    """An approximate bound that waits for the groups deletes what they have done."""
    for number in range(300):
        send(redis, "XADD", key, f"{number + 1}-1", "order", 1)
    send(redis, "XGROUP", "CREATE", key, GROUP, "0")
    read = ("XREADGROUP", "GROUP", GROUP, WORKER, "NOACK", "STREAMS", key, ">")
    send(redis, *read)
    must(send(redis, "XTRIM", key, "MAXLEN", "~", 100, "ACKED"), 200, "what is deleted")


@PROBES.add("`XREADGROUP … CLAIM`", since="8.4", source=f"{COMMANDS}/xreadgroup/")
def xreadgroup_claim(redis: Redis, key: str) -> None:
    """A reader gets what another one left, and what is new, in one call."""
    _two_entries(redis, key)
    line = ("XREADGROUP", "GROUP", GROUP, OTHER, "CLAIM", 0, "STREAMS", key, ">")
    found = send(redis, *line)
    must([entry[0] for entry in found[key]], ["1-1", "2-1"], "what is read")


@PROBES.add("`SET … IFEQ`", since="8.4", source=f"{COMMANDS}/set/")
def set_ifeq(redis: Redis, key: str) -> None:
    """A value is replaced only if it is still what the client has seen, as for a lock."""
    send(redis, "SET", key, "mine")
    must(send(redis, "SET", key, "yours", "IFEQ", "other"), None, "the reply")
    must(send(redis, "SET", key, "yours", "IFEQ", "mine"), "OK", "the reply")


@PROBES.add(
    "`aof-load-corrupt-tail-max-size`",
    since="8.4",
    source="https://github.com/redis/redis/pull/14058",
)
def corrupt_tail(redis: Redis, key: str) -> None:  # noqa: ARG001
    """A server can be told to start on a log whose end a power cut has ruined."""
    name = "aof-load-corrupt-tail-max-size"
    if name not in send(redis, "CONFIG", "GET", name):
        raise Missing("`CONFIG GET` has no such setting")


@PROBES.add("`XADD … IDMP`", since="8.6", source=f"{COMMANDS}/xadd/")
def xadd_idmp(redis: Redis, key: str) -> None:
    """A second append with the same number is the first one."""
    line = ("XADD", key, "IDMP", "shop", "order-7", "*", "order", 7)
    must(send(redis, *line), send(redis, *line), "the second ID")
    must(send(redis, "XLEN", key), 1, "the length")


@PROBES.add("`XCFGSET`", since="8.6", source=f"{COMMANDS}/xcfgset/")
def xcfgset(redis: Redis, key: str) -> None:
    """A stream remembers the numbers of appends for as long as it is told."""
    _two_entries(redis, key)
    send(redis, "XCFGSET", key, "IDMP-DURATION", 300)
    must(send(redis, "XINFO", "STREAM", key)["idmp-duration"], 300, "`idmp-duration`")


@PROBES.add("`XNACK`", since="8.8", source=f"{COMMANDS}/xnack/")
def xnack(redis: Redis, key: str) -> None:
    """A worker gives an entry back at once."""
    _two_entries(redis, key)
    must(send(redis, "XNACK", key, GROUP, "FAIL", "IDS", 1, "1-1"), 1, "the reply")
    found = send(redis, "XAUTOCLAIM", key, GROUP, OTHER, 3_600_000, "0-0")
    must([entry[0] for entry in found[1]], ["1-1"], "what can be claimed at once")


@PROBES.add("`XREAD … MAXCOUNT`", since="8.10", source=f"{COMMANDS}/xread/")
def maxcount(redis: Redis, key: str) -> None:
    """A bound for all streams of one read together."""
    _two_entries(redis, key)
    found = send(redis, "XREAD", "MAXCOUNT", 1, "STREAMS", key, "0")
    must(len(found[key]), 1, "the number of entries read")


@PROBES.add("`XREADGROUP … MAXSIZE`", since="8.10", source=f"{COMMANDS}/xreadgroup/")
def maxsize(redis: Redis, key: str) -> None:
    """A bound in bytes for one read."""
    for number in range(2, 4):
        send(redis, "XADD", key, f"{number}-1", "order", "x" * 1000)
    send(redis, "XGROUP", "CREATE", key, GROUP, "0")
    line = ("XREADGROUP", "GROUP", GROUP, OTHER, "MAXSIZE", 1, "STREAMS", key, ">")
    must(len(send(redis, *line)[key]), 1, "the number of entries read")
