"""The files that a run has written, as far as they are what they were."""

from __future__ import annotations

from pathlib import Path

from cachekit.errors import CacheKitError
from cachekit.experiments.record import RunRecord


def unchanged_files(run: RunRecord) -> tuple[list[Path], list[str]]:
    """Return the files of a run that have the content they had, and the other ones.

    Parameters
    ----------
    run : RunRecord
        The run.

    Returns
    -------
    (list of Path, list of str)
        Where they are; and those that are gone or were changed, as the run named them.
    """
    kept: dict[Path, None] = {}
    others = []
    for facts in run.artifacts:
        path = Path(str(facts.get("absolute") or facts["path"]))
        if facts.get("digest") is not None and _digest(path) == facts["digest"]:
            kept[path] = None
        else:
            others.append(facts["path"])
    return list(kept), others


def _digest(path: Path) -> str | None:
    from cachekit.hashing import digest
    from cachekit.memoization import File

    try:
        return digest(File(path))
    except (OSError, ValueError, CacheKitError):
        return None
