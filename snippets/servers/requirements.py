"""Where the locked requirements of the servers are, and what tells them apart."""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "requirements"
JARS = FOLDER / "jgo.lock.toml"
JAVA = FOLDER / "java.txt"


def fingerprint(lock: Path) -> str:
    """Return a short text that changes when the lock file does."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
