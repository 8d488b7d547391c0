"""Where the locked requirements of the servers are, and what tells them apart."""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "requirements"
JAVA = FOLDER / "java.txt"


def jars_of(kafka: str) -> Path:
    """Return the lock file of the jars of a version of Kafka."""
    return FOLDER / "kafka" / kafka / "jgo.lock.toml"


def fingerprint(lock: Path) -> str:
    """Return a short text that changes when the lock file does."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
