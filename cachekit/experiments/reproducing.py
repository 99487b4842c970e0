"""Do a run again, from nothing, and compare.

The command that was recorded is run, in a checkout of what was recorded: who can write
to a store decides what is run here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cachekit.amounts import counted
from cachekit.errors import CacheKitError
from cachekit.experiments.again import Plan, bundled, plan_again
from cachekit.experiments.comparing import Change, environment_changes
from cachekit.experiments.record import RunRecord
from cachekit.experiments.repositories import checkout
from cachekit.experiments.steps import (
    StepDifference,
    code_changes,
    compare_steps,
    is_measured,
    metric_changes,
)
from cachekit.inspection import store_at
from cachekit.stores import Store

# Lines that a command has printed, which are kept if it fails.
_LAST_LINES = 20

# What differs between two places, and decides no result.
_OF_THE_PLACE = {"commit", "changes to it", "host", "user"}


@dataclass(frozen=True)
class Reproduction:
    """What came of doing a run again.

    Attributes
    ----------
    run : RunRecord
        The first one.
    again : RunRecord or None
        The second; None if it recorded nothing.
    step : StepDifference or None
        The first step that differs.
    metrics : tuple of Change
        The metrics that differ.
    problem : str
        Why nothing could be compared; empty if it could.
    notes : tuple of str
        What else there is to know.
    output : str
        The last lines that the command has printed.
    """

    run: RunRecord
    again: RunRecord | None = None
    step: StepDifference | None = None
    metrics: tuple[Change, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()
    output: str = ""

    @property
    def is_reproduced(self) -> bool:
        """Whether every step and every metric came out the same."""
        return not (self.problem or self.step or self.metrics)


def reproduce(
    run: RunRecord,
    store: Store,
    *,
    repository: Path | None = None,
    linked: Sequence[Path] = (),
    tolerance: float = 0.0,
    watch: Callable[[Plan], None] | None = None,
) -> Reproduction:
    """Do a run again in an empty store, from the recorded commit, and compare.

    Parameters
    ----------
    run : RunRecord
        What was done.
    store : Store
        Where its results are.
    repository : Path, optional
        The repository, if it is not where it was.
    linked : sequence of Path, optional
        Files and folders of the repository's folder that git does not have, such as
        data: they are linked into the checkout.
    tolerance : float, default 0
        By how much metrics may differ, in relation to the larger of two.
    watch : callable, optional
        Is told what will be run.

    Returns
    -------
    Reproduction

    Raises
    ------
    CacheKitError
        If the run cannot be done again: it was started in a notebook, or its
        repository is not there.
    """
    if not run.has_end:
        state = "was killed" if run.status == "killed" else "goes on, or was killed"
        raise CacheKitError(f"run {run.id} {state}: nothing to compare")
    work = Path(tempfile.mkdtemp(prefix="cachekit-again-"))
    try:
        (work / "copies").mkdir()
        with _as_it_was(run, work, repository, linked) as (place, notes):
            plan = plan_again(run, work, place)
            if watch is not None:
                watch(plan)
            done = _run(plan)
            return _compare(run, store, work, done, (*plan.notes, *notes), tolerance)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _as_it_was(
    run: RunRecord, work: Path, repository: Path | None, linked: Sequence[Path]
) -> Iterator[tuple[Path | None, list[str]]]:
    """In its block, there is a checkout of what was run; None if there is no need."""
    words = [str(word) for word in run.command.get("original") or ()][1:]
    git = run.git
    if git is None or bundled(words) is not None:
        yield None, []
        return
    root = repository or Path(str(git.get("root")))
    if not root.is_dir():
        raise CacheKitError(
            f"the repository of run {run.id} is not at {root}: say where it is with "
            f"--repository"
        )
    if git.get("is_cut"):
        raise CacheKitError(
            f"the changes that run {run.id} was made with were too large to be "
            f"recorded: only their beginning is known"
        )
    folder = work / "checkout"
    with checkout(root, str(git.get("commit")), str(git.get("diff") or ""), folder):
        for path in linked:
            _link(path, root, folder)
        yield folder, _notes_on_files(git.get("untracked"), linked)


def _link(path: Path, root: Path, folder: Path) -> None:
    whole = path.absolute()
    if not whole.exists():
        raise CacheKitError(f"there is no {path} to be linked")
    resolved = whole.parent.resolve() / whole.name
    if not resolved.is_relative_to(root.resolve()):
        raise CacheKitError(f"{path} is outside of {root}")
    target = folder / resolved.relative_to(root.resolve())
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(whole, target_is_directory=whole.is_dir())


def _notes_on_files(untracked: object, linked: Sequence[Path]) -> list[str]:
    if not isinstance(untracked, list) or not untracked or linked:
        return []
    some = ", ".join(map(str, untracked[:3])) + (", …" if len(untracked) > 3 else "")
    return [f"git does not have {some}: name with --with what the run needs"]


def _run(plan: Plan) -> tuple[int, str]:
    """Run the command; return its exit code and the end of what it printed."""
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            plan.words,
            cwd=plan.folder,
            env={**os.environ, **plan.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - 20_000))
        lines = output.read().decode("utf-8", "replace").splitlines()
    return done.returncode, "\n".join(lines[-_LAST_LINES:])


def _compare(
    run: RunRecord,
    store: Store,
    work: Path,
    done: tuple[int, str],
    notes: tuple[str, ...],
    tolerance: float,
) -> Reproduction:
    code, output = done
    again = _same_run(run, sorted((work / "copies").glob("*.json")))
    if again is None:
        text = f"it ended with exit code {code}" if code else "it recorded no such run"
        return Reproduction(run, None, problem=text, notes=notes, output=output)
    if again.status != run.status:
        problem = f"it {_ended(run)}, and now it {_ended(again)}"
        return Reproduction(run, again, problem=problem, notes=notes, output=output)
    other = store_at(again.store) if again.store else store
    notes = (*notes, *_notes_on_results(run, again))
    # What was there before was not computed again, so that it proves nothing.
    read = sum(call.is_made is False for call in again.calls)
    if read and not Path(again.store).is_relative_to(work):
        problem = (
            f"the script names a store of its own, {again.store}, which has "
            f"{counted(read, 'result')} already: nothing was computed again"
        )
        return Reproduction(run, again, problem=problem, notes=notes, output=output)
    steps = compare_steps(run, store, again, other)
    if steps.measured:
        words = ", ".join(steps.measured)
        notes = (*notes, f"results that also measure time or memory: {words}")
    return Reproduction(
        run,
        again,
        steps.difference,
        tuple(metric_changes(run, again, tolerance=tolerance)),
        notes=notes,
        output=output,
    )


def _same_run(run: RunRecord, paths: Sequence[Path]) -> RunRecord | None:
    """Find the run among those of a process; one with the same parameters first."""
    found = [RunRecord.from_json(path.read_bytes()) for path in paths]
    named = [one for one in found if one.name == run.name]
    same = [one for one in named if one.parameters == run.parameters]
    return next(iter(same or named), None)


def _ended(run: RunRecord) -> str:
    words = {
        "failed": "failed",
        "interrupted": "was interrupted",
        "killed": "was killed",
    }
    text = words.get(run.status, run.status)
    return f"{text} ({run.error})" if run.error else text


def _notes_on_results(run: RunRecord, again: RunRecord) -> Iterator[str]:
    if run.parameters != again.parameters:
        yield "the parameters are other ones: the script takes them from elsewhere"
    changed = code_changes(run, again)
    if changed:
        yield f"other code than then: {', '.join(changed)}"
    if run.n_calls > len(run.calls):
        yield f"of {run.n_calls:,} steps, {len(run.calls):,} are listed and compared"
    measured = [name for name in run.metrics if is_measured(name)]
    if measured:
        yield f"not compared, for they measure time or memory: {', '.join(measured)}"
    files = [_names_of_files(one) for one in (run, again)]
    other = [name for name, digest in files[0].items() if files[1].get(name) != digest]
    if other:
        yield f"files with other content: {', '.join(other)}"
    changes = [
        f"{one.name} {one.before or 'absent'} -> {one.now or 'absent'}"
        for one in environment_changes(run, again)
        if one.name not in _OF_THE_PLACE
    ]
    if changes:
        yield f"another environment: {', '.join(changes[:8])}"


def _names_of_files(run: RunRecord) -> dict[str, object]:
    """Return digests of files, by name alone: their folder may be another one."""
    return {Path(one["path"]).name: one.get("digest") for one in run.artifacts}
