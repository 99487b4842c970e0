"""Write a run as a stage of DVC: ``dvc.yaml``, ``params.yaml``, ``dvc.lock``.

DVC itself is not needed to write them. Their format is described at
https://doc.dvc.org/user-guide/project-structure/dvcyaml-files.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachekit.errors import CacheKitError
from cachekit.experiments.files import unchanged_files
from cachekit.experiments.record import RunRecord

FILES = ("dvc.yaml", "params.yaml", "dvc.lock", "metrics.json")


@dataclass(frozen=True)
class Stage:
    """What was written of a run for DVC.

    Attributes
    ----------
    name : str
        Of the stage.
    paths : tuple of Path
        The files.
    left_out : tuple of str
        Files of the run that are no outputs of the stage: they are folders, gone, not
        what they were, or outside of the folder that the run was started in.
    """

    name: str
    paths: tuple[Path, ...]
    left_out: tuple[str, ...]


def export_to_dvc(run: RunRecord, folder: Path) -> Stage:
    """Write a run as a stage of DVC, which is up to date.

    The stage runs the recorded command. It depends on the modules that were imported
    and on the parameters; whether the script reads ``params.yaml`` is up to it.

    Parameters
    ----------
    run : RunRecord
        The run.
    folder : Path
        Where to; made if needed.

    Returns
    -------
    Stage

    Raises
    ------
    CacheKitError
        If one of the files is there already, or the run has no command.
    OSError
        If they cannot be written.
    """
    words = [str(word) for word in run.command.get("original") or ()][1:]
    if not words:
        raise CacheKitError(f"run {run.id} has no command that DVC could run")
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise CacheKitError(
            f"{folder} has {', '.join(there)} already: name another folder with "
            f"--output, or move them away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9_-]", "_", run.name) or "run"
    start = Path(str(run.command.get("folder") or folder)).resolve()
    texts = {
        "params.yaml": _yaml(run.parameters),
        "metrics.json": f"{_metrics(run)}\n",
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    outputs, left_out = _outputs(run, start)
    stage, lock = _describe(run, words, start, folder.resolve(), outputs)
    texts["dvc.yaml"] = _yaml({"stages": {name: stage}})
    texts["dvc.lock"] = _yaml({"schema": "2.0", "stages": {name: lock}})
    for file in ("dvc.yaml", "dvc.lock"):
        (folder / file).write_text(texts[file], encoding="utf-8")
    return Stage(name, tuple(folder / file for file in FILES), tuple(left_out))


def _outputs(run: RunRecord, start: Path) -> tuple[list[Path], list[str]]:
    files, left_out = unchanged_files(run)
    outputs = []
    for path in files:
        if path.is_file() and path.resolve().is_relative_to(start):
            outputs.append(path.resolve())
        else:
            left_out.append(str(path))
    return outputs, left_out


def _describe(
    run: RunRecord, words: list[str], start: Path, folder: Path, outputs: list[Path]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``dvc.yaml`` and ``dvc.lock`` say of the stage."""

    def place(path: Path) -> str:  # all of a stage goes from its folder
        return Path(os.path.relpath(path, start)).as_posix()

    sources = [Path(one).resolve() for one in run.sources]
    sources = [one for one in sources if one.is_relative_to(start) and one.is_file()]
    metrics, parameters = folder / "metrics.json", folder / "params.yaml"
    show = ["-m", "cachekit", "runs", "show", "last", "--metrics"]
    show += ["--store", _short_location(run.store, start)] if run.store else []
    commands = [
        shlex.join(["python", *words]),
        f"{shlex.join(['python', *show])} > {shlex.quote(place(metrics))}",
    ]
    stage: dict[str, Any] = {"cmd": [one.replace("${", "\\${") for one in commands]}
    lock: dict[str, Any] = {"cmd": commands}
    if start != folder:
        stage["wdir"] = Path(os.path.relpath(start, folder)).as_posix()
    if sources:
        stage["deps"] = [place(one) for one in sources]
        lock["deps"] = [_locked(one, place(one)) for one in sources]
    if run.parameters:
        stage["params"] = [{place(parameters): list(run.parameters)}]
        lock["params"] = {place(parameters): run.parameters}
    if outputs:
        stage["outs"] = [{place(one): {"cache": False}} for one in outputs]
    stage["metrics"] = [{place(metrics): {"cache": False}}]
    lock["outs"] = [_locked(one, place(one)) for one in sorted([*outputs, metrics])]
    return stage, lock


def _short_location(location: str, start: Path) -> str:
    """Write a store inside of a folder relative to it."""
    if "://" in location or not Path(location).is_relative_to(start):
        return location
    return os.path.relpath(location, start)


def _locked(path: Path, place: str) -> dict[str, Any]:
    # MD5 is what DVC has content known by.
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False)
    return {
        "path": place,
        "hash": "md5",
        "md5": digest.hexdigest(),
        "size": path.stat().st_size,
    }


def _metrics(run: RunRecord) -> str:
    """Write metrics as ``cachekit runs show --metrics`` does."""
    known = {
        name: value if math.isfinite(value) else None
        for name, value in run.metrics.items()
    }
    return json.dumps(known, indent=1)


def _yaml(facts: dict[str, Any]) -> str:
    """Write YAML: as JSON writes them, scalars and keys are YAML too."""
    return "".join(f"{line}\n" for line in _yaml_lines(facts)) if facts else "{}\n"


def _yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _yaml_item(f"{indent}{_yaml_key(key)}:", item, indent)
    else:
        for item in value:
            if isinstance(item, dict) and item:
                first, *rest = _yaml_lines(item, f"{indent}  ")
                yield f"{indent}- {first.lstrip()}"
                yield from rest
            else:  # lists in lists in one line
                yield f"{indent}- {json.dumps(item)}"


def _yaml_item(head: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, dict | list) and item:
        yield head
        yield from _yaml_lines(item, f"{indent}  ")
    else:
        yield f"{head} {json.dumps(item)}"


def _yaml_key(key: str) -> str:
    # Unquoted, some are no texts: yes, null, 3.
    is_plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", key)
    return key if is_plain and key.lower() not in _OTHER_THAN_TEXT else json.dumps(key)


_OTHER_THAN_TEXT = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
