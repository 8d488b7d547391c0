"""Say what is going on, wherever somebody would otherwise wait and wonder."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def progress(task: str) -> Iterator[None]:
    """Print the task on standard error when it begins, and its seconds when it ends."""
    begun = time.monotonic()
    print(f"{task} ...", file=sys.stderr, flush=True)
    yield
    seconds = time.monotonic() - begun
    print(f"{task}: done in {seconds:.1f} s", file=sys.stderr, flush=True)
