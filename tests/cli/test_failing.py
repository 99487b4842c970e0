"""What the command line says when something fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cachekit import Memory, inspection
from cachekit.cli import main
from cachekit.cli.failing import words_of, wrap
from cachekit.errors import StoreError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests away from the store of whoever runs them."""
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("CACHEKIT_DIR", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return folder


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def told(result: Result) -> str:
    """Return an error as one line."""
    assert "[Errno" not in result.stderr
    return " ".join(result.stderr.split())


def failure(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name)


# --- errors of the system ---


@pytest.mark.parametrize("command", ["ls", "rm f", "pin f", "push other", "export x"])
def test_a_store_that_may_not_be_read_is_told_in_words(
    root: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise failure(errno.EACCES, str(root / ".stats"))

    monkeypatch.setattr("cachekit.stores.LocalStore.entries", refuse)

    result = invoke(*command.split())

    assert result.exit_code == 1
    assert told(result) == (
        f"Error: {root / '.stats'} cannot be read or written by this user "
        f"(permission denied); name another store with --store"
    )


def test_a_file_that_is_not_there_is_told_in_words() -> None:
    result = invoke("import", "nosuch.tar")

    assert result.exit_code == 1
    assert told(result) == "Error: there is no file or folder nosuch.tar"


def test_a_file_is_named_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = invoke("export", "nosuch/x.tar")
    assert told(missing) == f"Error: there is no file or folder {Path.cwd()}/nosuch"

    def refuse(self: Path, *_: object) -> None:
        raise failure(errno.EACCES, str(self))

    monkeypatch.setattr(Path, "open", refuse)

    result = invoke("export", "x.tar")

    assert told(result).startswith("Error: x.tar cannot be read or written")
    assert told(result).endswith("; name another")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (failure(errno.ENOSPC, "a"), "a cannot be written: no space is left; make"),
        (failure(errno.EISDIR, "a"), "a is a folder, where a file is wanted"),
        (failure(errno.EIO, "a"), "a: input/output error"),
        (failure(errno.EIO), "input/output error"),
        (OSError("the service is away"), "the service is away"),
        (OSError(), "OSError"),
        (StoreError("cannot list: [Errno 5] I/O error"), "cannot list: I/O error"),
    ],
)
def test_no_error_shows_a_number_of_the_system(
    error: OSError | StoreError, text: str
) -> None:
    assert words_of(error).startswith(text)


# --- wrapping ---


def test_errors_are_wrapped_to_the_terminal(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del root
    text = "a word, and `a command of several words` /and/a/path; " * 8

    def refuse(*_: object, **__: object) -> None:
        raise StoreError(text)

    monkeypatch.setattr(inspection, "functions", refuse)

    result = invoke("ls")

    assert max(map(len, result.stderr.splitlines())) <= 80
    assert told(result) == f"Error: {text.strip()}"
    assert all(line.count("`") % 2 == 0 for line in result.stderr.splitlines())


def test_what_is_too_long_for_a_line_stays_whole() -> None:
    path = "/folder" * 20

    assert wrap(f"there is no store at {path}").splitlines() == [
        "there is no store at",
        path,
    ]


def test_what_a_terminal_would_obey_is_written_out_in_errors() -> None:
    assert "\x1b" not in invoke("ls", "a\x1b[2Jb").stderr


# --- misspelt names ---


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["wyh"], "no such command 'wyh': did you mean why?"),
        (["zzzzzz"], "no such command 'zzzzzz'"),
        (["run", "topic"], "no such pipeline 'topic': did you mean topics?"),
        (["runs", "shwo"], "no such command 'shwo': did you mean show?"),
    ],
)
def test_a_misspelt_command_is_told_what_is_like_it(
    arguments: list[str], text: str
) -> None:
    result = invoke(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"Error: {text}\n")


def test_an_option_that_is_not_there_is_still_told() -> None:
    assert "No such option" in invoke("--nosuch").stderr


def test_errors_keep_their_exit_codes_and_usage() -> None:
    result = invoke("prune")

    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    assert isinstance(result.exception, SystemExit)


def test_a_misspelt_function_is_told_what_is_like_it(root: Path) -> None:
    def count_words(text: str) -> int:
        return len(text.split())

    count_words.__qualname__ = "count_words"
    Memory(root).cache(count_words)("a b")

    for command in ("ls", "rm"):
        result = invoke(command, "count_wrods")

        assert result.exit_code == 1
        assert told(result).endswith(f": did you mean {__name__}.count_words?")


# --- a file where the store was to be ---


@pytest.mark.parametrize(
    "command", ["ls", "import a", "push words.py", "info 0123abcd", "sync words.py"]
)
def test_a_file_is_told_from_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    path = tmp_path / "words.py"
    path.write_text("")
    if "words.py" not in command:
        monkeypatch.setenv("CACHEKIT_DIR", str(path))

    result = invoke(*command.split())

    assert result.exit_code == 1
    assert told(result) == (
        f"Error: {path} is a file, not a folder: name a store with --store"
    )
