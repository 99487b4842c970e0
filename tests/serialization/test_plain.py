"""A small value without a class is read by the short way, as by the usual one."""

from __future__ import annotations

import decimal
import io
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachekit.errors import CorruptedFile, UntrustedContent
from cachekit.serialization import (
    Label,
    Seal,
    codec_from,
    read_plain,
    read_value,
    write_value,
    write_value_to,
    writing,
)

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)
PLAIN = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(), inner, max_size=4),
    ),
    max_leaves=8,
)
SEALS: list[Label | Seal | None] = [None, Label(b"one"), Seal(b"a secret", b"one")]


def packed(
    value: object, seal: Label | Seal | None = None, compress: Any = False
) -> bytes:
    file = io.BytesIO()
    write_value(file, value, codec_from(compress), seal)
    return file.getvalue()


@pytest.mark.parametrize("seal", SEALS)
@given(value=PLAIN)
def test_plain_values_come_back(value: Any, seal: Label | Seal | None) -> None:
    content = packed(value, seal)

    hit = read_plain(content, seal)

    usual = read_value(io.BytesIO(content), seal=seal)
    assert usual == value
    if hit is None:  # a byte of a text or a number is that of a look-up by chance
        assert b"\x93" in content
    else:
        assert (hit[0], type(hit[0])) == (value, type(value))


class Kept:
    """Takes files of an entry, and tells which were opened."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.opened = io.BytesIO()

    def open(self, name: str) -> io.BytesIO:
        self.opened.name = name
        self.opened.close = lambda: None  # type: ignore[method-assign]
        return self.opened

    def write(self, name: str, content: bytes) -> None:
        self.files[name] = content


def stored(
    value: object, seal: Label | Seal | None = None, compress: Any = False
) -> bytes:
    kept = Kept()
    size = write_value_to(kept, "value", value, codec_from(compress), seal)
    content = kept.files.get("value", kept.opened.getvalue())
    assert size == len(content)
    return content


class Text(str):
    """No plain text."""


@pytest.mark.parametrize("seal", SEALS)
@given(value=PLAIN)
def test_plain_values_are_written_by_the_short_way_as_by_the_usual_one(
    value: Any, seal: Label | Seal | None
) -> None:
    assert stored(value, seal) == packed(value, seal)


SAME = "the same text"


@pytest.mark.parametrize("compress", [False, "zstd"])
@pytest.mark.parametrize(
    "value",
    [
        7,
        True,
        None,
        (SAME, SAME, 1e300, -0.0, 1 << 5000),
        {SAME: SAME, "b": b"x" * 4000},
        {"a": np.arange(3), "b": np.float64(2)},
        [Text("a"), "b"],
        {1: [2], (3,): 4},
        list(range(33)),
        "a" * 4097,
        "a" * 70_000,
        ["a" * 40_000] * 2,
        b"b" * (3 << 20),
        print,
        decimal.Decimal("0.1"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_every_value_is_written_as_by_the_usual_way(
    value: object, compress: Any
) -> None:
    assert stored(value, compress=compress) == packed(value, compress=compress)


@pytest.mark.parametrize("value", [3, "plain", (1, 2.5), {"a": None}, b"", []])
def test_the_short_way_is_taken_to_write(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = packed(value)
    monkeypatch.setattr(writing, "Writer", mock.Mock(side_effect=AssertionError))

    assert stored(value) == expected


@pytest.mark.parametrize("value", [3, "plain", (1, 2.5), {"a": [None, True]}, b"", []])
def test_the_short_way_is_taken(value: object) -> None:
    assert read_plain(packed(value)) == (value,)


@pytest.mark.parametrize(
    "content",
    [
        packed(np.arange(3)),
        packed(decimal.Decimal("0.1")),
        packed(print),
        packed("a \u0493"),  # has the byte of a look-up
        packed("a" * 70_000),
        packed("a" * 1000, compress=True),
        b"",
        packed(3)[:-1],
        packed(3) + b"0",
    ],
)
def test_all_others_are_left_to_the_usual_way(content: bytes) -> None:
    assert read_plain(content) is None


@given(st.data())
def test_a_flipped_bit_is_not_read(data: st.DataObject) -> None:
    content = bytearray(packed((1, "text", 0.5), Label(b"one")))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))

    assert read_plain(bytes(content), Label(b"one")) is None


def test_a_value_of_another_entry_is_refused() -> None:
    with pytest.raises(CorruptedFile, match="another entry"):
        read_plain(packed(3, Label(b"one")), Label(b"other"))
    for seal in (None, Label(b"one"), Seal(b"a secret", b"other"), Seal(b"no", b"one")):
        with pytest.raises(UntrustedContent):
            read_plain(packed(3, seal), Seal(b"a secret", b"one"))


def test_a_stream_that_makes_no_sense_is_left_to_the_usual_way() -> None:
    from cachekit.serialization.container import pack_around

    stream = b"\x80\x05."  # returns what is not there
    header, behind = pack_around(stream)

    assert read_plain(header + stream + behind) is None
