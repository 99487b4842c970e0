"""One pass over a stream: a progress bar, and how much memory it takes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from cachekit.pipelines.threads import in_one_thread

T = TypeVar("T")

MB = 2**20

_PROC = Path("/proc/self")


def one_pass(
    chunks: Iterable[T], *, n_chunks: int, name: str, readings: list[float]
) -> Iterator[T]:
    """Yield the chunks of a stream, with a progress bar on standard error.

    Parameters
    ----------
    chunks : iterable
        The stream.
    n_chunks : int
        How many chunks it has.
    name : str
        What the pass is for.
    readings : list of float
        Filled with the memory of the process in MB: as the pass begins, and then the
        peak since it began, after each chunk. Import what you need before.

    Yields
    ------
    object
        The chunks.

    Notes
    -----
    Numerical libraries use one thread meanwhile: each needs memory of its own.
    """
    from tqdm import tqdm

    bar = tqdm(
        total=n_chunks, desc=f"{name:<11}", unit=" chunks", file=sys.stderr, ncols=79
    )
    with bar, in_one_thread():
        forget_peak()
        readings.append(peak_memory())
        for chunk in chunks:
            yield chunk
            readings.append(peak_memory())
            bar.update()


def peak_memory() -> float:
    """Return the most memory that the process has held at once, in MB.

    Resident memory, libraries included, since the last `forget_peak`. Without Linux,
    which can forget, it is since the process began; 0 where nothing tells, as on
    Windows.
    """
    try:
        status = (_PROC / "status").read_text()
        kilobytes = status.partition("VmHWM:")[2].split(maxsplit=1)[0]
        return int(kilobytes) * 1024 / MB
    except (OSError, ValueError, IndexError):
        return _peak_of_process()


def forget_peak() -> None:
    """Begin to measure the peak anew, where that is possible.

    References
    ----------
    proc_pid_clear_refs(5) of the Linux manual: 5 sets the peak to what is held now.
    """
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:  # another system, or one that does not let us
        return


def _peak_of_process() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak * 1024 / MB
