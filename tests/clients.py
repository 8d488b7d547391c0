"""The client libraries, and which of them a piece of code talks through."""

import re
from importlib.metadata import version
from pathlib import Path

# By the name under which each is imported: its own name, and that of its package.
LIBRARIES = {
    "redis": ("redis-py", "redis"),
    "kafka": ("kafka-python", "kafka-python"),
    "confluent_kafka": ("confluent-kafka", "confluent-kafka"),
}
IMPORTED = re.compile(rf"^(?:from|import) ({'|'.join(LIBRARIES)})\b", re.MULTILINE)


def client(library: str) -> str:
    """Return a library's name and version, such as `redis-py 8.1.0`.

    Args:
        library: The name under which it is imported.
    """
    name, package = LIBRARIES[library]
    return f"{name} {version(package)}"


def client_of(module: Path) -> str:
    """Return the name and version of the library that a task's module imports."""
    (library,) = set(IMPORTED.findall(module.read_text(encoding="utf-8")))
    return client(library)
