"""A probe: one small function that uses a feature, and what a server said to it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from snippets.labs.record import Part

Target = TypeVar("Target")

# A server repeats the arguments, and they have random names in them.
ARGUMENTS = re.compile(r",? ?with args beginning with:.*")
NAME = re.compile(r"probe-[0-9a-f]+")
# kafka-python shows the whole request, and in the response what the broker says;
# librdkafka shows its error as an object.
RESPONSE = re.compile(r".*(?:error_message|str)=(['\"])(.+?)\1.*")


class Missing(Exception):  # noqa: N818 - it is an answer
    """The server took what it was told, and did something else: says what."""


class Verdict(StrEnum):
    """What a probe came to."""

    YES = "yes"
    NO = "no"
    FAILED = "failed"


class Answer(Part, frozen=True):
    """What came of one probe.

    Attributes:
        verdict: `yes`; `no` if the feature is refused or absent; `failed` if the probe
            could not tell, which is no answer.
        said: The error, or what was found instead; empty after a `yes`.
    """

    verdict: Verdict
    said: str = ""


@dataclass(frozen=True)
class Probe(Generic[Target]):
    """A feature, and how to find out whether it is there.

    Attributes:
        name: Its permalink, which is the function's name.
        title: What a page calls it.
        since: The first release of the server with it; empty where a library is asked.
        until: The first release without it; empty if it stayed.
        source: Where it is documented.
        run: Uses it, and raises if it is not there. Gets the target and a name that
            nothing else has.
        baseline: Whether every server at hand has it: it shows that the probes are able
            to say yes.
    """

    name: str
    title: str
    since: str
    until: str
    source: str
    run: Callable[[Target, str], None]
    baseline: bool

    @property
    def reference(self) -> str:
        """The name under which the reference has the probe."""
        return f"{self.run.__module__}.{self.run.__name__}"


class Probes(Generic[Target]):
    """The probes of one kind of target, in the order in which they run."""

    def __init__(self, absent: tuple[type[Exception], ...]) -> None:
        """Begin with none.

        Args:
            absent: The errors by which a target says that it has not got something.
        """
        self._absent: tuple[type[Exception], ...] = (*absent, Missing)
        self._probes: list[Probe[Target]] = []

    def __iter__(self) -> Iterator[Probe[Target]]:
        """Return the probes."""
        return iter(self._probes)

    def add(
        self,
        title: str,
        *,
        source: str,
        since: str = "",
        until: str = "",
        baseline: bool = False,
    ) -> Callable[[Callable[[Target, str], None]], Callable[[Target, str], None]]:
        """Make a function a probe; see `Probe`."""

        def mark(run: Callable[[Target, str], None]) -> Callable[[Target, str], None]:
            name = run.__name__.replace("_", "-")
            self._probes.append(Probe(name, title, since, until, source, run, baseline))
            return run

        return mark

    def ask(self, probe: Probe[Target], target: Target, name: str) -> Answer:
        """Run a probe.

        Args:
            probe: The probe.
            target: What it asks.
            name: A name that nothing else has.
        """
        try:
            probe.run(target, name)
        except self._absent as error:
            return Answer(Verdict.NO, in_short(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            return Answer(Verdict.FAILED, in_short(error))
        return Answer(Verdict.YES)


def in_short(error: Exception) -> str:
    """Return an error's kind and the first line of what it says, without random names."""
    said = next(iter(str(error).splitlines()), "")
    said = RESPONSE.sub(r"\2", said)
    said = NAME.sub("…", ARGUMENTS.sub("", said)).strip()
    if isinstance(error, Missing):
        return said
    return f"{type(error).__name__}: {said}".rstrip(": ")


def must(found: object, wanted: object, what: str) -> None:
    """Compare what a server did with what the feature would do.

    Raises:
        Missing: It is something else.
    """
    if found != wanted:
        raise Missing(f"{what} is `{found!r}`, not `{wanted!r}`")
