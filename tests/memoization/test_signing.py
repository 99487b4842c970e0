"""With a secret, nothing is unpickled that was not written by who knows it."""

from __future__ import annotations

import pickle
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachekit import Memory
from cachekit.errors import CacheWarning
from cachekit.serialization import write_value
from cachekit.serialization.codecs import NoCompression
from tests.memoization.project import only_value_file

SECRET = "a secret of the team, 32 bytes or so"


def roll(sides: int) -> str:
    return f"{sides}:{secrets.token_hex(8)}"


def signed(folder: Path, **options: Any) -> Callable[[int], str]:
    return Memory(folder, signing_key=SECRET, **options).cache(roll)


def test_a_signed_result_is_a_hit(tmp_path: Path) -> None:
    assert signed(tmp_path)(6) == signed(tmp_path)(6)


@pytest.mark.parametrize("compress", [False, True])
def test_a_signed_result_may_be_compressed(tmp_path: Path, compress: bool) -> None:
    first = signed(tmp_path, compress=compress)(6)

    assert signed(tmp_path, compress=not compress)(6) == first


def test_who_has_no_secret_reads_what_is_signed(tmp_path: Path) -> None:
    assert signed(tmp_path)(6) == Memory(tmp_path).cache(roll)(6)


@pytest.mark.parametrize("key", [None, "another secret, of another team"])
def test_what_is_not_signed_so_is_computed_again_and_replaced(
    tmp_path: Path, key: str | None
) -> None:
    theirs = Memory(tmp_path, signing_key=key).cache(roll)(6)

    with pytest.warns(CacheWarning, match="sign") as told:
        mine = signed(tmp_path)(6)

    assert len(told) == 1
    assert mine != theirs
    assert signed(tmp_path)(6) == mine


def test_a_signed_result_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    six = signed(tmp_path)(6)
    value = only_value_file(tmp_path)
    seven = signed(tmp_path)(7)
    (other,) = set(tmp_path.rglob("value")) - {value}

    shutil.copy(value, other)

    with pytest.warns(CacheWarning, match="another entry"):
        found = signed(tmp_path)(7)
    assert found not in (six, seven)


def test_what_is_refused_is_never_unpickled(tmp_path: Path) -> None:
    signed(tmp_path)(6)
    value = only_value_file(tmp_path)
    with value.open("wb") as file:
        write_value(file, Bomb(tmp_path / "went off"), NoCompression())

    with pytest.warns(CacheWarning, match="not signed"):
        signed(tmp_path)(6)

    assert not (tmp_path / "went off").exists()
    pickle.loads(pickle.dumps(Bomb(tmp_path / "went off")))
    assert (tmp_path / "went off").exists()  # it would have


def test_the_secret_may_be_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = signed(tmp_path)(6)

    monkeypatch.setenv("CACHEKIT_SIGNING_KEY", SECRET)
    memory = Memory(tmp_path)

    assert memory.cache(roll)(6) == known
    assert SECRET.encode() not in pickle.dumps(memory)  # workers have it too


def test_a_secret_that_was_given_goes_to_workers(tmp_path: Path) -> None:
    memory = pickle.loads(pickle.dumps(Memory(tmp_path, signing_key=SECRET)))

    assert memory.cache(roll)(6) == signed(tmp_path)(6)


def test_the_secret_is_not_shown(tmp_path: Path) -> None:
    memory = Memory(tmp_path, signing_key=SECRET)

    assert SECRET not in repr(memory) + repr(memory.cache(roll))


def test_text_and_bytes_are_the_same_secret(tmp_path: Path) -> None:
    known = Memory(tmp_path, signing_key=SECRET.encode()).cache(roll)(6)

    assert signed(tmp_path)(6) == known


@pytest.mark.parametrize("key", ["", "short", b"15 bytes only.."])
def test_a_secret_that_could_be_guessed_is_an_error(
    tmp_path: Path, key: str | bytes
) -> None:
    with pytest.raises(ValueError, match="16 at least"):
        Memory(tmp_path, signing_key=key)


def test_a_short_secret_in_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHEKIT_SIGNING_KEY", "short")

    with pytest.raises(ValueError, match="CACHEKIT_SIGNING_KEY has 5 bytes"):
        Memory(tmp_path)


def test_an_empty_secret_in_the_environment_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHEKIT_SIGNING_KEY", "")

    with pytest.raises(ValueError, match="CACHEKIT_SIGNING_KEY has 0 bytes"):
        Memory(tmp_path)


def test_a_secret_of_another_type_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="signing_key"):
        Memory(tmp_path, signing_key=3)  # type: ignore[arg-type]


class Bomb:
    """Something that does what it likes when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))
