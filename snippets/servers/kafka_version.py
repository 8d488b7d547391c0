"""Which version of Kafka runs: the protocol doesn't say, but a broker's log does."""

import re
from collections.abc import Callable

from snippets.servers.errors import ServersError
from snippets.servers.ready import attempts

LINE = re.compile(r"\bKafka version: (\S+)")
PATIENCE_S = 10.0


def logged_version(logs: Callable[[], str]) -> str:
    """Return the version that a broker has logged, such as `4.3.1`.

    Args:
        logs: Returns what the broker has logged so far. It logs its version at the end
            of its start, which may be a moment after it answers.

    Raises:
        ServersError: The log doesn't tell.
    """
    for _ in attempts(PATIENCE_S):
        if found := LINE.search(logs()):
            return found[1]
    raise ServersError("the log of a Kafka broker that answers doesn't tell its version")
