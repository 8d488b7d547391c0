"""The files of an image, put together without root and without another image."""

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from snippets.servers.errors import ServersError

# What the programs in our images need: the libraries of C and C++, the shell of their
# scripts, and the small tools that one expects to find in a container.
PACKAGES = ("libc6", "libgcc-s1", "libstdc++6", "bash", "libtinfo6", "busybox-static")
BUSYBOX = "busybox"

# Debian keeps these below /usr, with links in their place; older packages don't know.
MERGED = ("bin", "lib", "lib64", "sbin")

# How `ldd` says where it has found a library.
LOADED = re.compile(r"=> (/\S+)")

ROOT = 0


class Rootfs:
    """An archive that becomes the files of an image.

    Every path is relative to the root of the image.
    """

    def __init__(self, archive: tarfile.TarFile) -> None:
        """Write to an archive."""
        self._archive = archive
        self._paths: set[str] = set()

    def folder(self, path: str, *, owner: int = ROOT, mode: int = 0o755) -> None:
        """Add a folder."""
        self._add(path, tarfile.DIRTYPE, owner=owner, mode=mode)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, tarfile.SYMTYPE, target=target)

    def text(self, path: str, text: str) -> None:
        """Add a file with a text."""
        content = text.encode()
        self._add(path, size=len(content), content=io.BytesIO(content))

    def file(self, path: str, source: Path, *, owner: int = ROOT, mode: int = 0) -> None:
        """Add a copy of a file or a folder; with its own mode, if none is given."""

        def adapt(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = owner
            member.uname = member.gname = ""
            member.mode = mode or member.mode
            return member

        self._archive.add(source, path, filter=adapt)

    def libraries(self, program: Path) -> None:
        """Add the shared libraries that a program of this machine loads."""
        told = subprocess.run(
            ["ldd", program], check=True, capture_output=True, text=True
        )
        for library in LOADED.findall(told.stdout):
            name = _merged(library.removeprefix("/"))
            if name not in self._paths:
                self._paths.add(name)
                self.file(name, Path(library).resolve())

    def package(self, package: Path) -> None:
        """Add the files of a Debian package, without its documentation."""
        command = ["dpkg-deb", "--fsys-tarfile", str(package)]
        content = subprocess.run(command, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(content)) as files:
            for member in files:
                name = _merged(member.name.removeprefix("./"))
                if not name.startswith(("usr/share/", ".")):
                    content_of = files.extractfile(member) if member.isreg() else None
                    self._write(member.replace(name=name, deep=False), content_of)

    def _add(
        self,
        path: str,
        kind: bytes = tarfile.REGTYPE,
        *,
        owner: int = ROOT,
        mode: int = 0o644,
        target: str = "",
        size: int = 0,
        content: IO[bytes] | None = None,
    ) -> None:
        member = tarfile.TarInfo(path)
        member.type, member.mode, member.linkname, member.size = kind, mode, target, size
        member.uid = member.gid = owner
        self._write(member, content)

    def _write(self, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        # The engine refuses an archive that holds a path twice; the first one counts.
        if member.name not in self._paths:
            self._paths.add(member.name)
            self._archive.addfile(member, content)


def _merged(name: str) -> str:
    return f"usr/{name}" if name.partition("/")[0] in MERGED else name


@contextmanager
def new_rootfs(path: Path, users: Sequence[tuple[str, int, str]]) -> Iterator[Rootfs]:
    """Write the files of an image that holds Debian's shell and small tools.

    Args:
        path: Where the archive goes.
        users: Name, number and home of the users besides root.

    Raises:
        ServersError: This is not a Debian machine, or its packages can't be had.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise ServersError(
            f"images are built from Debian's packages, and this machine has no "
            f"{' and no '.join(missing)}: build them on Debian or Ubuntu, or pull the "
            "official ones."
        )
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(path, "w") as archive:
        rootfs = Rootfs(archive)
        rootfs.folder("usr")
        for name in MERGED:
            rootfs.folder(f"usr/{name}")
            rootfs.link(name, f"usr/{name}")
        for name in ("dev", "etc", "proc", "root", "run", "sys", "usr/local/bin", "var"):
            rootfs.folder(name)
        for name in ("tmp", "var/tmp"):
            rootfs.folder(name, mode=0o1777)
        for package in _download(Path(scratch)):
            rootfs.package(package)
            if package.name.startswith(BUSYBOX):
                for tool in _busybox_tools(package, Path(scratch)):
                    rootfs.link(f"usr/bin/{tool}", BUSYBOX)
        everybody = [("root", ROOT, "/root"), *users]
        passwd = [f"{name}:x:{n}:{n}::{home}:/bin/sh\n" for name, n, home in everybody]
        rootfs.text("etc/passwd", "".join(passwd))
        rootfs.text("etc/group", "".join(f"{name}:x:{n}:\n" for name, n, _ in everybody))
        yield rootfs


def _download(folder: Path) -> list[Path]:
    # The sandbox user of root's apt may not write into a folder of root's.
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServersError(
            "Debian's packages can't be fetched; an `apt-get update` may be due:\n"
            f"{done.stderr}"
        )
    # The last one adds only the tools that no other package brings.
    return sorted(
        folder.glob("*.deb"), key=lambda package: package.name.startswith(BUSYBOX)
    )


def _busybox_tools(package: Path, scratch: Path) -> list[str]:
    subprocess.run(["dpkg-deb", "--extract", package, scratch / BUSYBOX], check=True)
    program = next((scratch / BUSYBOX).rglob(f"bin/{BUSYBOX}"))
    told = subprocess.run([program, "--list"], check=True, capture_output=True, text=True)
    return [tool for tool in told.stdout.split() if tool != BUSYBOX]
