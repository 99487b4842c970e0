"""The state of a script's repository, and a checkout of it as it was."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cachekit.errors import CacheKitError
from cachekit.memoization.repositories import git_command

# A repository that takes longer to tell its state is not waited for.
TIMEOUT_SECONDS = 10.0

# Of larger changes, the beginning is recorded, for people.
LONGEST_DIFF = 1_000_000

# Files that were not added yet: sources are part of the changes, others are named.
_MOST_SOURCES = 50
_MOST_NAMED = 100

_PLAIN_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--binary")
_PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")


def describe_repository(source: Path) -> dict[str, Any] | None:
    """Return the state of the repository that a file or folder is in.

    Parameters
    ----------
    source : Path
        The script, or a folder.

    Returns
    -------
    dict or None
        ``root``, ``commit``, ``diff``, ``is_cut``, ``untracked``. None outside of a
        repository, without git, or before the first commit.
    """
    inside = source if source.is_dir() else source.parent
    try:
        root = Path(git(inside, "rev-parse", "--show-toplevel").strip())
        commit = git(root, "rev-parse", "HEAD").strip()
        diff = git(root, "diff", "HEAD", *_PLAIN_DIFF, *_PREFIXES)
        found = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    untracked = [name for name in found.split("\0") if name]
    sources = [name for name in untracked if name.endswith(".py")][:_MOST_SOURCES]
    for name in sources:
        if len(diff) > LONGEST_DIFF:
            break
        diff += _diff_of_new_file(root, name)
    return {
        "root": str(root),
        "commit": commit,
        "diff": diff[:LONGEST_DIFF],
        "is_cut": len(diff) > LONGEST_DIFF,
        "untracked": [name for name in untracked if name not in sources][:_MOST_NAMED],
    }


def _diff_of_new_file(root: Path, name: str) -> str:
    try:
        # That two files differ is exit code 1.
        files = ("--", "/dev/null", name)
        options = ("--no-index", *_PLAIN_DIFF, *_PREFIXES)
        return git(root, "diff", *options, *files, allowed=(0, 1))
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


@contextmanager
def checkout(root: Path, commit: str, diff: str, folder: Path) -> Iterator[None]:
    """In its block, a folder has the files of a commit, with changes to them.

    Parameters
    ----------
    root : Path
        The repository.
    commit : str
        Its commit.
    diff : str
        Changes, as `describe_repository` returns them.
    folder : Path
        Where to; it is made, and removed at the end.

    Raises
    ------
    CacheKitError
        If the repository has no such commit, or the changes do not fit.
    """
    try:
        quietly = ("-c", "core.hooksPath=/dev/null", "worktree")
        git(root, *quietly, "add", "--detach", str(folder), commit, patience=None)
        try:
            if diff:
                apply = ("apply", "--whitespace=nowarn", "-")
                git(folder, *apply, given=diff, patience=None)
            yield
        finally:
            git(root, *quietly, "remove", "--force", str(folder), patience=None)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip()[:500]
        raise CacheKitError(
            f"commit {commit[:12]} of {root}, with the recorded changes, cannot be "
            f"checked out: {said}"
        ) from error


def git(
    folder: Path,
    *words: str,
    given: str | None = None,
    allowed: tuple[int, ...] = (0,),
    patience: float | None = TIMEOUT_SECONDS,
) -> str:
    """Run git in a folder, without locks that would disturb a commit of the user's.

    Parameters
    ----------
    folder : Path
        Where.
    *words : str
        Command and options.
    given : str, optional
        Standard input.
    allowed : tuple of int, optional
        The exit codes that are no failure.
    patience : float or None, default 10
        Seconds to wait for it.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If there is no git, or it fails or takes too long.
    """
    done = subprocess.run(
        git_command(folder, *words),
        capture_output=True,
        check=False,
        timeout=patience,
        input=b"" if given is None else _encode(given),
    )
    # Files may be in any encoding, with any ends of lines: nothing is translated.
    output, errors = (_decode(part) for part in (done.stdout, done.stderr))
    if done.returncode not in allowed:
        raise subprocess.CalledProcessError(
            done.returncode, ["git", *words], output, errors
        )
    return output


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
