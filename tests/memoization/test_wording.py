"""The text of an explanation, whatever stands in the store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachekit.memoization.comparing import ArgumentChange, LibraryChange, UnitChange
from cachekit.memoization.explaining import Explanation
from cachekit.memoization.wording import WIDTH
from tests.stores.entries import key_of

texts = st.text(max_size=200)
arguments = st.builds(
    ArgumentChange,
    texts,
    st.sampled_from(["changed", "added", "removed", "ignored"]),
    texts | st.none(),
    texts | st.none(),
    texts | st.none(),
    texts | st.none(),
)
units = st.builds(
    UnitChange,
    texts,
    st.sampled_from(["changed", "added", "removed"]),
    texts | st.none(),
    texts | st.none(),
    st.lists(
        st.sampled_from("+- ").flatmap(lambda sign: texts.map((sign + " ").__add__))
    ).map(tuple),
)
explanations = st.builds(
    Explanation,
    function=texts,
    key=st.just(key_of()),
    reason=st.sampled_from(
        [
            *("hit", "expired", "no entries", "removed", "unreadable"),
            *("arguments", "code", "arguments and code"),
        ]
    ),
    entries=st.integers(0, 10**9),
    started=texts | st.datetimes().map(lambda moment: moment.isoformat()),
    arguments=st.lists(arguments, max_size=3).map(tuple),
    units=st.lists(units, max_size=3).map(tuple),
    libraries=st.lists(st.builds(LibraryChange, texts, texts, texts), max_size=2).map(
        tuple
    ),
    is_stored=st.booleans(),
)


@given(explanations)
def test_a_text_fits_a_terminal_and_cannot_command_it(found: Explanation) -> None:
    lines = str(found).split("\n")

    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= WIDTH
