"""The `cachekit` command, in this process and in others."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len
from rich.text import Text

import cachekit
from cachekit import Memory, inspection
from cachekit.cli import main
from cachekit.memoization import Record
from cachekit.pipelines import PIPELINES
from cachekit.stores import LocalStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keep the tests away from the store of whoever runs them."""
    monkeypatch.setenv("CACHEKIT_DIR", str(tmp_path / "store"))
    monkeypatch.delenv("COLUMNS", raising=False)
    return monkeypatch


def fit(x: int, name: str = "a") -> str:
    return name * x


@pytest.fixture
def filled(root: Path) -> str:
    """Store two calls of one function, one of them used twice."""
    memory = Memory(root)
    cached = memory.cache(fit)
    for x in (1, 2, 2, 2):
        cached(x)
    assert memory.store is not None
    memory.counter.save(memory.store)
    return f"{__name__}.fit"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def succeed(*arguments: str) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def key_of_call(root: Path, x: int) -> str:
    for entry in inspection.entries(LocalStore(root)):
        if entry.record and entry.record.arguments["x"]["repr"] == str(x):
            return entry.key.digest
    raise LookupError(x)


# --- ls ---


@pytest.mark.usefixtures("filled")
def test_ls_lists_the_functions(root: Path, filled: str) -> None:
    shown = succeed("ls")

    header, line, footer = shown.splitlines()
    assert header.split() == ["function", "calls", "size", "used", "hits", "saved"]
    assert line.split()[:2] == [filled, "2"]
    assert "just now" in line
    assert footer.startswith("2 calls, ")
    assert footer.endswith(f"in {root}")


def test_ls_of_a_function_lists_its_calls(root: Path, filled: str) -> None:
    shown = succeed("ls", filled)

    header, *lines = shown.splitlines()
    assert header.split() == ["entry", "arguments", "size", "used", "hits", "took"]
    assert len(lines) == 2
    assert any(
        line.startswith(key_of_call(root, 2)[:12]) and "x=2, name='a'" in line
        for line in lines
    )


def test_ls_of_an_entry_lists_it(root: Path, filled: str) -> None:
    assert filled

    assert "x=1" in succeed("ls", key_of_call(root, 1)[:8])


@pytest.mark.usefixtures("filled")
def test_the_store_can_be_named(
    root: Path, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("CACHEKIT_DIR", str(tmp_path / "elsewhere"))

    assert "test_cli.fit" in succeed("ls", "--store", str(root))


def test_ls_as_json_has_the_documented_fields(root: Path, filled: str) -> None:
    (function,) = json.loads(succeed("ls", "--json"))
    calls = json.loads(succeed("ls", filled, "--json"))

    assert set(function) == {
        *("function", "calls", "size", "last_used", "hits", "seconds_saved"),
    }
    assert (function["function"], function["calls"], function["hits"]) == (filled, 2, 2)
    for call in calls:
        check_entry_facts(root, call)
    assert sorted(call["hits"] for call in calls) == [0, 2]


def check_entry_facts(root: Path, facts: dict[str, Any]) -> None:
    assert set(facts) == {
        *("key", "path", "size", "last_used", "hits", "seconds_saved", "is_pinned"),
        "record",
    }
    assert set(facts["record"]) == set(Record.__dataclass_fields__)
    assert Path(facts["path"]).is_relative_to(root)
    assert (Path(facts["path"]) / "value").is_file()


# --- info ---


def test_info_shows_what_is_known_of_an_entry(root: Path, filled: str) -> None:
    key = key_of_call(root, 2)

    lines = succeed("info", key[:8]).splitlines()

    facts = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert facts["function"] == filled
    assert facts["key"] == key
    assert (Path(facts["path"]) / "value").is_file()
    assert (facts["x"], facts["name"]) == ("2", "'a'")
    assert facts["versions"].endswith(f"cachekit {cachekit.__version__}")
    assert facts["used"] == "just now, 2 hits"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d on ", facts["computed"])


@pytest.mark.usefixtures("filled")
def test_info_as_json_is_one_entry(root: Path) -> None:
    key = key_of_call(root, 2)

    facts = json.loads(succeed("info", key[:8], "--json"))

    assert facts["key"] == key
    check_entry_facts(root, facts)


@pytest.mark.usefixtures("filled")
def test_the_path_that_info_shows_names_the_entry(root: Path) -> None:
    shown = json.loads(succeed("info", key_of_call(root, 2), "--json"))

    assert json.loads(succeed("info", shown["path"], "--json")) == shown


@pytest.mark.parametrize("command", ["info", "show"])
def test_a_function_where_an_entry_is_wanted_is_told_how_to_list_them(
    filled: str, command: str
) -> None:
    for name in (filled, "fit"):
        result = invoke(command, name)

        assert (result.exit_code, result.stdout) == (1, "")
        told = " ".join(result.stderr.split())
        assert f"{name} is a function, where one entry is wanted" in told
        assert f"`cachekit ls {name}` lists its entries" in told


# --- rm ---


def test_rm_removes_one_call(root: Path, filled: str) -> None:
    shown = succeed("rm", key_of_call(root, 1))

    assert shown.startswith("Removed 1 entry, ")
    assert [entry["hits"] for entry in json.loads(succeed("ls", filled, "--json"))] == [
        2
    ]


def test_rm_removes_a_function(root: Path, filled: str) -> None:
    shown = succeed("rm", filled)

    assert shown.startswith("Removed 2 entries, ")
    assert inspection.entries(LocalStore(root)) == []


def test_rm_as_json_counts(root: Path, filled: str) -> None:
    size = sum(entry.size for entry in inspection.entries(LocalStore(root)))

    facts = json.loads(succeed("rm", filled, "--json"))

    assert facts == {"removed": 2, "bytes": size}


def test_rm_of_one_wrong_name_removes_nothing(root: Path, filled: str) -> None:
    result = invoke("rm", filled, "nosuchname")

    assert result.exit_code == 1
    assert "nosuchname" in result.stderr
    assert len(inspection.entries(LocalStore(root))) == 2


# --- pin and unpin ---


def pinned(root: Path) -> list[str]:
    return [e.key.digest for e in inspection.entries(LocalStore(root)) if e.is_pinned]


@pytest.mark.usefixtures("filled")
def test_pin_and_unpin_one_call(root: Path) -> None:
    key = key_of_call(root, 1)

    assert succeed("pin", key[:8]).startswith("Pinned 1 entry, ")
    assert pinned(root) == [key]

    assert succeed("unpin", key[:8]).startswith("Unpinned 1 entry, ")
    assert pinned(root) == []


def test_pin_and_unpin_a_function(root: Path, filled: str) -> None:
    size = sum(entry.size for entry in inspection.entries(LocalStore(root)))

    assert json.loads(succeed("pin", filled, "--json")) == {"pinned": 2, "bytes": size}
    assert len(pinned(root)) == 2

    facts = json.loads(succeed("unpin", filled, "--json"))
    assert facts == {"unpinned": 2, "bytes": size}
    assert pinned(root) == []


@pytest.mark.parametrize("command", ["pin", "unpin"])
def test_of_one_wrong_name_nothing_is_pinned_or_unpinned(
    root: Path, filled: str, command: str
) -> None:
    succeed("pin", key_of_call(root, 1))

    result = invoke(command, filled, "nosuchname")

    assert result.exit_code == 1
    assert "nosuchname" in result.stderr
    assert pinned(root) == [key_of_call(root, 1)]


def test_ls_and_info_show_what_is_pinned(root: Path, filled: str) -> None:
    one, other = key_of_call(root, 1), key_of_call(root, 2)
    assert "pinned" not in succeed("ls", filled) + succeed("info", one)

    succeed("pin", one)

    header, *lines = succeed("ls", filled).splitlines()
    assert header.split()[-1] == "pinned"
    assert [line[:12] for line in lines if line.split()[-1] == "yes"] == [one[:12]]
    assert "pinned" in succeed("info", one)
    assert "pinned" not in succeed("info", other)
    assert json.loads(succeed("info", one, "--json"))["is_pinned"] is True
    assert json.loads(succeed("info", other, "--json"))["is_pinned"] is False


def test_rm_removes_what_is_pinned(root: Path, filled: str) -> None:
    succeed("pin", filled)

    assert succeed("rm", filled).startswith("Removed 2 entries, ")
    assert inspection.entries(LocalStore(root)) == []


# --- nothing there, and wrong usage ---


@pytest.mark.parametrize(
    "command",
    [["ls"], ["ls", "f"], ["info", "abcd"], ["rm", "f"], ["pin", "f"], ["unpin", "f"]],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_store_that_is_not_there_is_told_with_what_to_do(
    root: Path, command: list[str], options: list[str]
) -> None:
    result = invoke(*command, *options)

    assert result.exit_code == 1
    assert result.stdout == ""
    told = " ".join(result.stderr.split())
    assert f"there is no store at {root}" in told
    assert "--store or $CACHEKIT_DIR" in told
    assert not root.exists()


def test_an_empty_store_is_told_with_what_to_do(root: Path) -> None:
    root.mkdir()

    shown = succeed("ls")

    assert f"Nothing is stored at {root} yet" in shown
    assert "@cachekit.cache" in shown
    assert json.loads(succeed("ls", "--json")) == []


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ls", "nosuch.function"], "nosuch.function"),
        (["ls", "f"], "no function"),
        (["info", "zzzz"], "zzzz"),
        (["info", "abc"], "too short"),
        (["rm", "zzzz"], "zzzz"),
    ],
)
def test_a_name_that_is_not_found_is_one_sentence_and_exit_code_1(
    arguments: list[str], told: str
) -> None:
    result = invoke(*arguments)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("Error") == 1
    assert told in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        *(["nosuch"], ["ls", "--nosuch"], ["ls", "a", "b"], ["info"], ["rm"]),
        *(["pin"], ["unpin"]),
        *(["info", "a", "b"], ["ls", "--store"], ["run", "nosuch"]),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = invoke(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["-h"], ["ls", "--help"], ["rm", "-h"], ["run", "--help"]),
        *(["pin", "-h"], ["unpin", "-h"]),
    ],
)
def test_every_command_has_help(arguments: list[str]) -> None:
    assert succeed(*arguments).startswith("Usage: ")


@pytest.mark.parametrize("group", [[], ["runs"], ["runs", "export"], ["run"]])
def test_the_texts_of_the_commands_fit_the_terminal(
    environment: pytest.MonkeyPatch, group: list[str]
) -> None:
    environment.setenv("COLUMNS", "80")

    lines = succeed(*group, "--help").splitlines()

    assert max(map(len, lines)) <= 80
    assert not [line for line in lines[1:] if line.endswith("...")]


def test_the_version_is_shown() -> None:
    assert succeed("--version") == f"cachekit, version {cachekit.__version__}\n"


def test_run_lists_the_pipelines() -> None:
    shown = succeed("run", "--help")

    for name, purpose in PIPELINES.items():
        assert name in shown
        assert purpose.split()[0] in shown


def test_a_store_of_another_scheme_is_told_so() -> None:
    result = invoke("ls", "--store", "nosuch://bucket/cache")

    assert result.exit_code == 1
    assert "nosuch://" in result.stderr


@pytest.mark.usefixtures("filled")
def test_an_interrupt_is_exit_code_130(environment: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    environment.setattr(inspection, "functions", interrupted)

    assert invoke("ls").exit_code == 130


@pytest.mark.usefixtures("filled")
def test_a_damaged_record_is_shown_as_such(root: Path) -> None:
    for path in root.glob("*/*/??/*/record.json"):
        path.write_text("[]")
    key = inspection.entries(LocalStore(root))[0].key

    assert "record missing or damaged" in succeed("ls", key.function)
    assert "missing or damaged" in succeed("info", key.digest)
    assert json.loads(succeed("info", key.digest, "--json"))["record"] is None
    assert key.function in succeed("ls")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("arguments", [3, ["x"], {"x": "3"}])
def test_a_record_of_another_shape_is_shown_as_damaged(
    root: Path, arguments: object
) -> None:
    for path in root.glob("*/*/??/*/record.json"):
        path.write_text(
            json.dumps({**json.loads(path.read_bytes()), "arguments": arguments})
        )
    key = inspection.entries(LocalStore(root))[0].key

    assert "damaged" in succeed("ls", key.function)


# --- tables ---


class Terminal(io.StringIO):
    """A terminal that keeps what is written on it."""

    def isatty(self) -> bool:
        return True


def long_named(root: Path) -> str:
    """Store a call whose names and arguments are wider than a terminal."""
    words = "a_function_with_a_rather_long_and_telling_name" * 3

    def function(**arguments: object) -> int:
        return len(arguments)

    function.__qualname__ = words
    Memory(root).cache(function)(
        **{f"argument_{i}": "größe 漢字" * 9 for i in range(9)}
    )
    return f"{__name__}.{words}"


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("is_pinned", [False, True])
def test_tables_fit_the_terminal(
    root: Path, environment: pytest.MonkeyPatch, width: int, is_pinned: bool
) -> None:
    name = long_named(root)
    succeed("pin" if is_pinned else "unpin", name)
    environment.setenv("COLUMNS", str(width))
    environment.setenv("TERM", "xterm")
    screen = Terminal()
    environment.setattr(sys, "stdout", screen)

    main(["ls"], standalone_mode=False)
    functions = screen.getvalue().splitlines()[:-1]  # without the line of totals
    main(["ls", name], standalone_mode=False)
    calls = screen.getvalue().splitlines()[len(functions) + 1 :]

    assert max(map(cell_len, map(without_style, functions + calls))) <= width
    assert len(calls) == 2
    shown = without_style(functions[1]).split()[0]
    assert shown.startswith("…")
    assert name.endswith(shown[1:])  # which `cachekit ls` takes as a name


def without_style(line: str) -> str:
    return Text.from_ansi(line).plain


def test_a_piped_table_keeps_long_names_whole(root: Path) -> None:
    name = long_named(root)

    assert name in succeed("ls")


@pytest.mark.parametrize("columns", ["", "0", "wide"])
@pytest.mark.usefixtures("filled")
def test_an_odd_width_in_the_environment_does_no_harm(
    environment: pytest.MonkeyPatch, columns: str
) -> None:
    environment.setenv("COLUMNS", columns)

    assert "test_cli.fit" in succeed("ls")


def test_an_argument_of_several_lines_takes_one_line_of_the_table(root: Path) -> None:
    def shape(arrays: list[Any]) -> int:
        return len(arrays)

    memory = Memory(root)
    memory.cache(shape)([np.eye(3)])

    shown = succeed("ls", f"{__name__}.{shape.__qualname__}")

    assert len(shown.splitlines()) == 2


# --- as a process ---


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cachekit", *arguments],
        cwd=Path(cachekit.__file__).parents[1],
        encoding="utf-8",
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def test_the_module_is_the_command(filled: str) -> None:
    done = command("ls", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["function"] == filled


def test_the_exit_code_of_a_failure_reaches_the_shell(root: Path) -> None:
    done = command("ls")

    assert (done.returncode, done.stdout) == (1, "")
    told = " ".join(done.stderr.split())
    assert told.startswith(f"Error: there is no store at {root}")


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """Give a pipe that nobody reads: what `head` leaves when it has seen enough."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("arguments", [["ls"], ["ls", "--json"], ["--help"]])
def test_a_reader_that_leaves_early_causes_no_message(
    closed_pipe: int, arguments: Sequence[str]
) -> None:
    done = command(*arguments, stdout=closed_pipe)

    assert done.stderr == ""


@pytest.mark.usefixtures("filled")
def test_what_a_narrow_encoding_cannot_show_does_not_stop_the_listing(
    root: Path,
) -> None:
    name = long_named(root)

    done = command("ls", name, env={**os.environ, "PYTHONIOENCODING": "ascii"})

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command",
    ["ls", "ls fit", "info", "du", "stats", "show", "prune --older-than 0s", "verify"],
)
def test_what_a_terminal_would_obey_is_written_out(
    root: Path, filled: str, command: str
) -> None:
    del filled
    for path in root.rglob("record.json"):
        facts = json.loads(path.read_text())
        for argument in facts["arguments"].values():
            argument["repr"] = "\x1b]0;title\x07"
        path.write_text(json.dumps({**facts, "host": "\x1b[2J"}))
    name, *options = command.split()
    if name in ("info", "show"):
        options.append(inspection.entries(LocalStore(root))[0].key.digest)

    result = invoke(name, *options)

    assert "\x1b" not in result.output
    assert "\x07" not in result.output
