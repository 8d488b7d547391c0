"""Workers in processes of their own, which the tests kill."""

import signal
import subprocess
import sys
import textwrap


def killed(code: str, *arguments: object) -> None:
    """Run a worker, with `os` and `sys` imported, that has to end by SIGKILL."""
    script = "import os, sys\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
