"""A small value without a class is read by the short way, as by the usual one."""

from __future__ import annotations

import decimal
import io
from typing import Any

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
