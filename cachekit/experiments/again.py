"""How a run is done again: which command, in which folder, with which environment.

Pure functions over the record and the paths of this machine; nothing is run here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachekit.errors import CacheKitError
from cachekit.experiments.record import RunRecord
from cachekit.experiments.recording import COPIES_VARIABLE

# Options of bundled pipelines whose places are other ones when it is done again.
_PLACES = ("--store", "--output")

# Names the store that is to be used, whatever locations a script names.
ONLY_STORE_VARIABLE = "CACHEKIT_ONLY_STORE"


@dataclass(frozen=True)
class Plan:
    """How a run is done again.

    Attributes
    ----------
    words : tuple of str
        The command.
    folder : Path
        Where it is run.
    environment : dict of str to str
        What is added to the environment.
    notes : tuple of str
        What a person should know.
    """

    words: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    notes: tuple[str, ...] = ()


def plan_again(run: RunRecord, work: Path, checkout: Path | None) -> Plan:
    """Find out how to do a run again.

    Parameters
    ----------
    run : RunRecord
        What was done.
    work : Path
        An empty folder, for the store and what is written.
    checkout : Path or None
        Where the repository is, as it was; None if there is none.

    Raises
    ------
    CacheKitError
        If the run was not started by a command.
    """
    words = [str(word) for word in run.command.get("original") or ()][1:]
    environment = {
        **_recorded_environment(run),
        "CACHEKIT_DIR": str(work / "store"),
        ONLY_STORE_VARIABLE: str(work / "store"),
        COPIES_VARIABLE: str(work / "copies"),
    }
    folder = Path(str(run.command.get("folder") or "."))
    pipeline = bundled(words)
    if pipeline is not None:
        places = ("--store", str(work / "store"), "--output", str(work / "output"))
        command = ("-m", "cachekit", *_without_places(pipeline), *places)
        inside = folder if folder.is_dir() else work
        return Plan((sys.executable, *command), inside, environment)
    if run.command.get("script") is None and "-c" not in words:
        raise CacheKitError(
            f"run {run.id} was started in an interpreter or a notebook: there is no "
            f"command that does it again"
        )
    moved = _Moved(run, checkout)
    paths = [moved(Path(path)) for path in _texts(run.command.get("paths"))]
    paths = [path for path in paths if path.is_dir()]
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    whole = dict.fromkeys([*map(str, paths), *filter(None, known)])
    environment["PYTHONPATH"] = os.pathsep.join(whole)
    notes = []
    inside = moved(folder)
    if checkout is None:
        notes.append(f"the script is in no repository: {folder} is taken as it is now")
    elif inside == folder:
        notes.append(f"it was run in {folder}, outside of its repository")
    else:
        inside.mkdir(parents=True, exist_ok=True)
    if not inside.is_dir():
        raise CacheKitError(f"{inside}, where run {run.id} was started, is not there")
    script = run.command.get("script")
    if isinstance(script, str):
        words = [moved.word(word, folder, Path(script)) for word in words]
    return Plan((sys.executable, *words), inside, environment, tuple(notes))


def bundled(words: Sequence[str]) -> list[str] | None:
    """Return the end of a command that runs a bundled pipeline; None of others.

    ``["-m", "cachekit", "run", "topics", "--set", "A=1"]`` -> ``["run", "topics", …]``
    """
    has_value = False  # the word before takes one, as -X does
    for place, word in enumerate(words):
        rest = list(words[place + 1 :])
        if has_value:
            has_value = False
            continue
        if word == "-m" and rest:
            package, _, name = rest[0].rpartition(".")
            if package == "cachekit.pipelines":
                return ["run", name, *rest[1:]]
            is_ours, rest = rest[0] == "cachekit", rest[1:]
        elif word.startswith("-"):  # an option of Python's
            has_value = word in ("-X", "-W", "--check-hash-based-pycs")
            continue
        else:
            is_ours = Path(word).stem == "cachekit" or word.endswith(
                os.path.join("cachekit", "__main__.py")  # noqa: PTH118
            )
        return rest if is_ours and rest[:1] == ["run"] else None
    return None


def _without_places(words: Sequence[str]) -> list[str]:
    """Leave out ``--store`` and ``--output``, with what follows them."""
    kept = []
    waiting = iter(words)
    for word in waiting:
        if word in _PLACES:
            next(waiting, None)
        elif word.partition("=")[0] not in _PLACES:
            kept.append(word)
    return kept


class _Moved:
    """Leads from a path of the recorded repository to the same in a checkout of it."""

    def __init__(self, run: RunRecord, checkout: Path | None) -> None:
        root = (run.git or {}).get("root")
        self._root = Path(root) if isinstance(root, str) else None
        self._checkout = checkout

    def __call__(self, path: Path) -> Path:
        if self._root is None or self._checkout is None:
            return path
        for one, root in ((path, self._root), (path.resolve(), self._root.resolve())):
            if one.is_relative_to(root):
                return self._checkout / one.relative_to(root)
        return path

    def word(self, word: str, folder: Path, script: Path) -> str:
        """Move the script in a command; a path from a folder that moves moves too."""
        is_script = not word.startswith("-") and (
            (folder / word).resolve() == script.resolve()
        )
        follows = self(folder) != folder and not Path(word).is_absolute()
        if not is_script or follows or self(script) == script:
            return word
        return str(self(script))


def _recorded_environment(run: RunRecord) -> dict[str, str]:
    found: Any = run.command.get("environment")
    if not isinstance(found, Mapping):
        return {}
    return {str(name): str(value) for name, value in found.items()}


def _texts(found: Any) -> list[str]:
    return [one for one in found or () if isinstance(one, str)]
