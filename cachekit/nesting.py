"""Whether a process may start others, or would do so without an end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """In its block this process starts no workers: it only looks at what it imports."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def is_alone() -> bool:
    """Tell whether this process is to start no workers."""
    return _depth > 0


_depth = 0


def depth_in_loky() -> int:
    """Return how many of loky's workers are above this process, itself one of them."""
    # Another thread may be importing it just now: then it has no depth yet.
    loky = sys.modules.get("loky.process_executor")
    depth: int = getattr(loky, "_CURRENT_DEPTH", 0)
    return depth


def is_importing_in_worker() -> bool:
    """Tell whether this is a worker that is importing a module just now.

    A loop at the top of that module would run in each worker that imports it for a
    task, and would start workers that import it as well.
    """
    if depth_in_loky() == 0:
        return False
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if (code.co_name, code.co_filename) == _IMPORTS:
            return True
        frame = frame.f_back
    return False


# Who runs the code of a module, whatever has found and loaded it.
_IMPORTS = ("_load_unlocked", "<frozen importlib._bootstrap>")
