"""In what two calls differ: told of descriptions and sources alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachekit.memoization.comparing import (
    LONGEST_DIFF,
    compare_arguments,
    diff_lines,
)


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.fixed_dictionaries({"digest": st.sampled_from(["1" * 32, "2" * 32])}),
    ),
    st.dictionaries(
        st.sampled_from("abcd"),
        st.fixed_dictionaries({"digest": st.sampled_from(["1" * 32, "2" * 32])}),
    ),
)
def test_arguments_differ_just_where_their_descriptions_do(
    before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]
) -> None:
    names = [change.name for change in compare_arguments(before, now)]

    assert len(names) == len(set(names))
    assert set(names) == {
        name for name in {*before, *now} if before.get(name) != now.get(name)
    }


def test_a_difference_is_shown_with_a_few_lines_around_it() -> None:
    lines = [f"line {number}\n" for number in range(100)]
    edited = [*lines]
    edited[50] = "other\n"
    edited[90] = "other\n"

    assert diff_lines("".join(lines), "".join(edited)) == (
        *("  line 48", "  line 49", "- line 50", "+ other", "  line 51", "  line 52"),
        "…",
        *("  line 88", "  line 89", "- line 90", "+ other", "  line 91", "  line 92"),
    )


def test_a_long_difference_is_cut() -> None:
    lines = diff_lines("a\n" * 100, "b\n" * 100)

    assert len(lines) == LONGEST_DIFF + 1
    assert lines[-1] == "… 160 more lines"


def test_what_was_edited_far_down_is_found() -> None:
    before = "".join(f"line {number}\n" for number in range(50_000))

    assert diff_lines(before, before + "more\n")[-1] == "+ more"


@given(st.text("ab\n"), st.text("ab\n"))
def test_lines_are_shown_just_where_the_texts_differ(before: str, now: str) -> None:
    assert bool(diff_lines(before, now)) == (before.splitlines() != now.splitlines())
