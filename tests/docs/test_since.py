"""The release that a page names is the one from which the servers at hand have it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from snippets.labs.versions import kafka_probes, redis_probes
from tests.docs.test_versions import sections

CODE = re.compile(r"`([^`]+)`")
RELEASE = re.compile(r"\b(\d+\.\d+)\b")

# Where a page calls a feature by a word of the command.
WORDS = {
    "ACKED": "trim-acked",
    "CLAIM": "xreadgroup-claim",
    "ENTRIESREAD": "entries-read",
    "IDMP": "xadd-idmp",
    "MAXCOUNT": "maxcount",
    "MAXSIZE": "maxsize",
    "MINID": "minid",
    "NOMKSTREAM": "nomkstream",
    "%R~": "acl-read-only-key",
    "inactive": "consumer-inactive",
    "lag": "group-lag",
}
BY_NAME = {probe.name: probe for probe in redis_probes.PROBES}
SINCE = {
    **{
        probe.title.strip("`"): probe.since
        for probe in redis_probes.PROBES
        if CODE.fullmatch(probe.title)
    },
    **{word: BY_NAME[name].since for word, name in WORDS.items()},
}
KAFKA_SINCE = {probe.name: probe.since for probe in kafka_probes.PROBES}
# Kafka's features have no command to be named by: the first of these that a row has.
PHRASES = {
    "dead-letter queue": KAFKA_SINCE["share-dead-letter"],
    "share groups": KAFKA_SINCE["share-groups"],
}


class Statement(NamedTuple):
    """What a page says of a feature."""

    page: str
    feature: str
    releases: list[str]


def statements() -> Iterator[Statement]:
    """Read the tables of versions."""
    for page, text in sections().items():
        for line in text.splitlines():
            if not line.startswith("| ") or line.startswith(("| ---", "| |")):
                continue
            what, said = line.strip("| ").split(" | ")[:2]
            releases = RELEASE.findall(said)
            if "Kafka" in said:
                named = [each for each in PHRASES if each in what.lower()][:1]
            else:
                named = [each for each in CODE.findall(what) if each in SINCE]
            for feature in named:
                yield Statement(page, feature, releases)


@pytest.mark.parametrize(
    "said", statements(), ids=lambda each: f"{each.page}: {each.feature}"
)
def test_a_page_names_the_release_that_the_probes_have(said: Statement) -> None:
    assert (SINCE | PHRASES)[said.feature] in said.releases


def test_the_pages_name_most_of_what_is_probed() -> None:
    named = {each.feature for each in statements()}
    assert named >= set(PHRASES)
    assert len(named) > len(SINCE) / 2
