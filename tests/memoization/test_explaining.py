"""Why a call would be a hit or a miss: told of real functions, edited between calls."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import linecache
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest

from cachekit import Memory
from cachekit.errors import StoreError
from cachekit.hashing import HASH_VERSION, CodeVersion, digest
from cachekit.memoization import Record, lineage
from cachekit.memoization.call import CallKey
from cachekit.memoization.comparing import LibraryChange
from cachekit.memoization.explaining import (
    MOST_READ,
    Call,
    Explanation,
    compare_calls,
    explain,
    explain_entry,
    read_call,
)
from cachekit.memoization.wording import WIDTH
from cachekit.stores import DictStore, EntryKey, LocalStore, Store, TieredStore
from tests.memoization.project import only_value_file
from tests.stores.entries import FINGERPRINT, OTHER_FINGERPRINT, key_of

ANALYSIS = """
    import functools

    RATE = 0.1


    class Model:
        kind = "linear"


    def doubled(function):
        @functools.wraps(function)
        def wrapper(*args):
            return 2 * function(*args)
        return wrapper


    def total(x):
        # all of it
        return sum(x)


    def fit(x, rate=0.5):
        return Model.kind, total(x) * rate * RATE


    @doubled
    def both(x):
        return x
"""

Edit = Callable[..., ModuleType]


def call_now(cached: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Return what `explain` takes, as the cached function itself would pass it."""
    bound = cached._bind(*args, **kwargs)
    key = cached._key(bound)
    facts = lineage.describe_arguments(bound, key.arguments)
    return cached._store, key, facts, cached._code.describe()


def why(cached: Any, *args: Any, **kwargs: Any) -> Explanation:
    return explain(*call_now(cached, *args, **kwargs), ignored=cached.ignore)


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """Write the module ``analysis`` with some text replaced, and import it anew."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "analysis", raising=False)

    def write(old: str = "", new: str = "") -> ModuleType:
        assert old in ANALYSIS
        source = textwrap.dedent(ANALYSIS.replace(old, new) if old else ANALYSIS)
        (tmp_path / "analysis.py").write_text(source)
        linecache.clearcache()
        importlib.invalidate_caches()
        sys.modules.pop("analysis", None)
        return importlib.import_module("analysis")

    return write


def shown(explanation: Explanation) -> list[str]:
    """Return its lines without the header, which has a time in it."""
    lines = str(explanation).splitlines()
    assert max(map(len, lines)) <= WIDTH
    return [line for line in lines[1:] if not line.startswith("    (")]


def words(explanation: Explanation) -> str:
    """Return its text on one line, wherever that was broken."""
    return " ".join(str(explanation).split())


# --- hit, or nothing there ---


def test_a_call_that_is_stored_would_be_a_hit(memory: Memory, edit: Edit) -> None:
    fit = memory.cache(edit().fit)
    fit([1, 2])

    found = why(fit, [1, 2])

    assert (found.is_hit, found.reason, found.nearest) == (True, "hit", found.key)
    assert str(found).startswith("analysis.fit(...) would be a hit: computed 20")


def test_explaining_counts_as_no_use(memory: Memory, edit: Edit) -> None:
    fit = memory.cache(edit().fit)
    fit([1, 2])

    why(fit, [1, 2])

    assert memory.tally().hits == 0


def test_of_a_function_never_called_nothing_is_stored(
    memory: Memory, edit: Edit
) -> None:
    found = why(memory.cache(edit().fit), [1, 2])

    assert (found.is_hit, found.reason, found.nearest) == (False, "no entries", None)
    assert (
        str(found) == "analysis.fit(...) would be computed: nothing is stored of it yet"
    )


def test_a_result_that_was_used_and_is_gone_was_removed(
    memory: Memory, edit: Edit
) -> None:
    fit = memory.cache(edit().fit)
    fit([1, 2])
    fit([3])
    key = call_now(fit, [1, 2])[1].entry
    assert memory.store is not None
    memory.store.add_hits({key: 1})

    memory.store.delete(key)

    assert why(fit, [1, 2]).reason == "removed"
    assert "removed or evicted" in words(why(fit, [1, 2]))


def test_a_result_that_is_too_old_is_told_from_a_hit(
    memory: Memory, edit: Edit
) -> None:
    fit = memory.cache(edit().fit)
    fit([1, 2])

    found = explain(*call_now(fit, [1, 2]), is_expired=True)

    assert (found.is_hit, found.reason) == (False, "expired")
    assert "not to be used any more" in words(found)


# --- arguments ---


def test_the_argument_that_differs_is_shown_with_both_values(
    memory: Memory, edit: Edit
) -> None:
    fit = memory.cache(edit().fit)
    fit([1, 2], rate=0.1)

    found = why(fit, [1, 2], rate=0.2)

    assert found.reason == "arguments"
    (change,) = found.arguments
    assert (change.name, change.kind, change.before, change.now) == (
        *("rate", "changed", "0.1", "0.2"),
    )
    assert str(found) == (
        "analysis.fit(...) would be computed: 1 argument differs from the nearest "
        "entry\n  rate: 0.1 -> 0.2"
    )


def test_the_nearest_has_the_fewest_arguments_that_differ(
    memory: Memory, edit: Edit
) -> None:
    fit = memory.cache(edit().fit)
    fit([1, 2], rate=0.1)
    fit([3], rate=0.2)
    fit([4], rate=0.3)

    found = why(fit, [1, 2], rate=0.3)

    assert found.entries == 3
    assert len(found.arguments) == 1
    assert "(of 3)" in words(found)


def test_arrays_that_look_alike_are_told_apart_by_their_digests(
    memory: Memory, edit: Edit
) -> None:
    fit = memory.cache(edit().fit)
    one, other = np.zeros(4), np.ones(4)
    fit(one)

    (line,) = shown(why(fit, other))

    assert line == (
        "  x: <ndarray (4,) of float64>, with other content "
        f"(digest {digest(one)[:8]} -> {digest(other)[:8]})"
    )


def test_long_values_are_shown_from_where_they_differ(
    memory: Memory, edit: Edit
) -> None:
    both = memory.cache(edit("(*args)", "(args)").both)
    both("a" * 60 + "here")

    label, before, now = shown(why(both, "a" * 60 + "gone"))

    assert label == "  args:"
    assert before.startswith("    - ")
    assert "here" in before
    assert "gone" in now


def test_a_redacted_argument_is_shown_as_such() -> None:
    before = {"token": {"digest": "1" * 32}}
    now = {"token": {"digest": "2" * 32}}

    found = compare_calls(
        call_of(key_of(1), arguments=before), call_of(key_of(2), arguments=now)
    )

    assert shown(found) == [
        "  token: (redacted), with other content (digest 11111111 -> 22222222)"
    ]


def test_an_argument_that_is_ignored_from_now_on_is_named(
    memory: Memory, edit: Edit
) -> None:
    module = edit()
    memory.cache(module.fit)([1], rate=0.1)

    found = why(memory.cache(module.fit, ignore=["rate"]), [1])

    assert shown(found) == ["  rate: now ignored, was 0.1"]


def test_an_argument_that_counts_from_now_on_is_named(
    memory: Memory, edit: Edit
) -> None:
    module = edit()
    memory.cache(module.fit, ignore=["rate"])([1])

    assert shown(why(memory.cache(module.fit), [1])) == ["  rate: new, 0.5"]


def test_arguments_that_changed_places_are_noticed(memory: Memory, edit: Edit) -> None:
    memory.cache(edit().fit, track="off")([1], 2)
    module = edit("def fit(x, rate=0.5)", "def fit(rate, x)")

    found = why(memory.cache(module.fit, track="off"), x=[1], rate=2)

    assert (found.reason, found.arguments) == ("arguments", ())
    assert "order" in found.note


# --- code ---


def test_an_edited_helper_is_shown_with_its_lines(memory: Memory, edit: Edit) -> None:
    memory.cache(edit().fit)([1, 2])
    fit = memory.cache(edit("return sum(x)", "return max(x)").fit)

    found = why(fit, [1, 2])

    assert (found.reason, found.arguments) == ("code", ())
    assert [(unit.name, unit.kind) for unit in found.units] == [
        ("analysis.total", "changed")
    ]
    assert "its code changed since the nearest entry" in words(found)
    assert shown(found) == [
        "  analysis.total  (changed)",
        "      def total(x):",
        "          # all of it",
        "    -     return sum(x)",
        "    +     return max(x)",
    ]


def test_a_remark_is_not_told_as_an_edit(memory: Memory, edit: Edit) -> None:
    memory.cache(edit().fit)([1, 2])

    assert why(memory.cache(edit("all of it", "everything").fit), [1, 2]).is_hit


def test_a_value_that_changed_is_told_of_the_function_that_reads_it(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().fit)([1, 2])

    found = why(memory.cache(edit("RATE = 0.1", "RATE = 0.2").fit), [1, 2])

    (unit,) = found.units
    assert (unit.name, unit.kind, unit.diff) == ("analysis.fit", "changed", ())
    assert unit.before == unit.now is not None
    assert shown(found) == [
        "  analysis.fit  (another value)",
        "    ~ RATE",
        "      analysis.py:4: RATE = 0.2",
    ]


def test_a_remark_does_not_pass_for_the_value_that_changed(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().fit)([1, 2])
    remark = "return Model.kind, total(x) * rate * RATE"
    module = edit(remark, f"# a remark\n        {remark}")
    module.RATE = 0.2  # type: ignore[attr-defined]

    (unit,) = why(memory.cache(module.fit), [1, 2]).units

    assert (unit.name, unit.diff) == ("analysis.fit", ())


def test_a_class_that_changed_is_named(memory: Memory, edit: Edit) -> None:
    memory.cache(edit().fit)([1, 2])

    found = why(memory.cache(edit('"linear"', '"square"').fit), [1, 2])

    assert [(unit.name, unit.diff) for unit in found.units] == [("analysis.Model", ())]


def test_a_class_attribute_is_told_with_the_statement_that_makes_it(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().fit)([1, 2])

    (unit,) = why(memory.cache(edit('"linear"', '"square"').fit), [1, 2]).units

    assert unit.statements == ('analysis.py:8: kind = "square"',)


def test_a_value_of_many_lines_is_shown_in_part(memory: Memory, edit: Edit) -> None:
    memory.cache(edit().fit)([1, 2])
    module = edit("RATE = 0.1", "RATE = sum([\n" + "        0.1,\n" * 20 + "    ])")

    lines = shown(why(memory.cache(module.fit), [1, 2]))

    assert lines[2] == "      analysis.py:4: RATE = sum(["
    assert lines[-1].strip() == "… 16 more lines"


def test_an_imported_value_is_told_where_it_is_made(
    memory: Memory, edit: Edit, tmp_path: Path
) -> None:
    reading = "from settings import RATE\n    import settings"
    (tmp_path / "settings.py").write_text("RATE = 0.1\n")
    sys.modules.pop("settings", None)
    memory.cache(edit("RATE = 0.1", reading).fit)([1, 2])
    (tmp_path / "settings.py").write_text("# moved\nRATE = 0.5\n")
    sys.modules.pop("settings", None)

    (unit,) = why(memory.cache(edit("RATE = 0.1", reading).fit), [1, 2]).units

    assert unit.statements == ("settings.py:2: RATE = 0.5",)


def test_the_number_of_a_unit_does_not_count_as_a_change(
    memory: Memory, edit: Edit
) -> None:
    held = "TABLE = {1: total}\n\n\n    def fit(x, rate=0.5):\n        TABLE[1]"
    one = ("def fit(x, rate=0.5):", held)
    memory.cache(edit(*one).fit)([1, 2])
    # Now `Model` comes before, and every number behind it is another.
    other = (one[0], held.replace("TABLE[1]", "Base, TABLE[1]"))
    module = edit(*other)
    module.Base = type("Base", (), {"__module__": "analysis"})  # type: ignore[attr-defined]

    found = why(memory.cache(module.fit), [1, 2])

    (fit,) = [unit for unit in found.units if unit.name == "analysis.fit"]
    assert "TABLE" not in fit.values


def test_a_stored_call_that_was_computed_again_is_compared_with_itself(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().fit)([1, 2])
    fit = memory.cache(edit("return sum(x)", "return max(x)").fit)
    fit([3])
    fit([1, 2])
    store, key, *_ = call_now(fit, [1, 2])

    found = explain_entry(store, key.entry)

    assert found is not None
    assert (found.reason, found.same_arguments) == ("code", None)
    assert "+     return max(x)" in "\n".join(found.differences)


# --- the last call, by the code as it is now ---


def test_the_last_call_is_compared_with_itself(memory: Memory, edit: Edit) -> None:
    fit = memory.cache(edit().fit)
    fit([1, 2])
    fit([3], rate=0.1)
    assert fit.explain_again().is_hit

    found = memory.cache(edit("return sum(x)", "return max(x)").fit).explain_again()

    assert (found.reason, found.arguments, found.entries) == ("code", (), 2)
    assert found.nearest == call_now(fit, [3], rate=0.1)[1].entry
    assert [unit.name for unit in found.units] == ["analysis.total"]


def test_of_nothing_stored_there_is_no_last_call(memory: Memory, edit: Edit) -> None:
    assert memory.cache(edit().fit).explain_again() is None


def test_the_last_call_takes_the_default_of_a_new_parameter(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().fit)([1, 2])

    found = memory.cache(
        edit("rate=0.5", "rate=0.5, power=2").fit, redact=["power"]
    ).explain_again()

    (change,) = found.arguments
    assert (change.name, change.kind, change.now) == ("power", "added", "(redacted)")


def test_the_last_call_is_told_though_a_default_has_no_digest(
    memory: Memory,
) -> None:
    @memory.cache
    def fit(x: int, lock: Any = threading.Lock()) -> int:  # noqa: ARG001, B008
        return x

    fit(1, lock=None)

    found = fit.explain_again()

    assert found is not None
    assert found.is_hit


def test_the_last_call_leaves_out_what_is_ignored_now(
    memory: Memory, edit: Edit
) -> None:
    module = edit()
    memory.cache(module.fit)([1, 2], rate=0.1)

    found = memory.cache(module.fit, ignore=["rate"]).explain_again()

    assert [(one.name, one.kind) for one in found.arguments] == [("rate", "ignored")]


def test_a_last_call_that_is_too_old_is_told(memory: Memory, edit: Edit) -> None:
    module = edit()
    memory.cache(module.fit)([1, 2])

    aged = memory.cache(module.fit, expires=0.0)

    assert aged.explain_again().reason == aged.explain([1, 2]).reason == "expired"


def test_units_that_are_no_longer_called_are_named(memory: Memory, edit: Edit) -> None:
    memory.cache(edit().fit)([1, 2])

    found = why(memory.cache(edit("total(x) *", "sum(x) *").fit), [1, 2])

    assert [(unit.name, unit.kind) for unit in found.units] == [
        ("analysis.fit", "changed"),
        ("analysis.total", "removed"),
    ]
    assert shown(found)[-1] == "  analysis.total  (removed, 3 lines)"


def test_units_that_are_called_from_now_on_are_named(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit("total(x) *", "sum(x) *").fit)([1, 2])

    found = why(memory.cache(edit().fit), [1, 2])

    assert [(unit.name, unit.kind) for unit in found.units] == [
        ("analysis.fit", "changed"),
        ("analysis.total", "added"),
    ]


def test_a_decorated_function_is_shown_with_its_lines(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().both)(1)
    edited = edit("def both(x):\n        return x", "def both(x):\n        return -x")

    (unit,) = why(memory.cache(edited.both), 1).units

    assert unit.name == "analysis.both (2)"
    assert unit.diff[-2:] == ("-     return x", "+     return -x")


def test_a_parameter_that_was_added_is_shown_with_the_code(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().fit)([1, 2])
    fit = memory.cache(edit("rate=0.5", "rate=0.5, power=2").fit)

    found = why(fit, [1, 2])

    assert found.reason == "arguments and code"
    assert [unit.name for unit in found.units] == ["analysis.fit"]
    assert "  power: new, 2" in shown(found)


def test_an_option_that_changed_is_guessed_at(memory: Memory, edit: Edit) -> None:
    module = edit()
    memory.cache(module.fit, version=1)([1, 2])

    found = why(memory.cache(module.fit, version=2), [1, 2])

    assert (found.reason, found.units) == ("code", ())
    assert "version=" in words(found)


def test_a_partial_with_another_value_is_explained(memory: Memory, edit: Edit) -> None:
    module = edit()
    memory.cache(functools.partial(module.fit, rate=1))([1, 2])

    found = why(memory.cache(functools.partial(module.fit, rate=2)), [1, 2])

    assert found.reason == "arguments and code"
    assert "  rate: 1 -> 2" in shown(found)


def test_libraries_of_another_version_are_named() -> None:
    one = call_of(key_of(1), code=code_of(libraries={"numpy": "1.26"}))
    other = call_of(
        key_of(1, fingerprint=OTHER_FINGERPRINT),
        code=code_of(libraries={"numpy": "2.0", "scipy": "1.14"}),
    )

    found = compare_calls(one, other)

    assert found.libraries == (
        LibraryChange("numpy", "1.26", "2.0"),
        LibraryChange("scipy", None, "1.14"),
    )
    assert shown(found)[0].startswith("  numpy: 1.26 -> 2.0")


def test_the_same_arguments_under_other_code_are_told_of(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().fit)([1, 2])
    fit = memory.cache(edit("return sum(x)", "return max(x)").fit)
    fit([3])

    found = why(fit, [1, 2])

    assert found.reason == "arguments"
    assert found.same_arguments is not None
    assert found.same_arguments.fingerprint != found.key.fingerprint
    assert found.same_arguments.digest[:12] in words(found)


# --- the nearest, among entries made by hand ---


def call_of(
    key: EntryKey,
    *,
    arguments: dict[str, dict[str, str]] | None = None,
    code: CodeVersion | None = None,
) -> Call:
    return Call(key, arguments or {}, code)


def code_of(
    fingerprint: str = FINGERPRINT,
    units: dict[str, str] | None = None,
    libraries: dict[str, str] | None = None,
) -> CodeVersion:
    return CodeVersion(fingerprint, units or {"f": "1"}, {}, libraries or {}, {})


def record_of(key: EntryKey, started: str, **values: int) -> Record:
    return Record(
        function=key.function,
        fingerprint=key.fingerprint,
        key=key.digest,
        arguments=facts_of(**values),
        started=started,
        seconds_computing=1.0,
        seconds_storing=0.0,
        value_bytes=5,
        host="host",
        python="3.11.7",
        cachekit="0.1",
        hash_version=HASH_VERSION,
    )


def facts_of(**values: int) -> dict[str, dict[str, str]]:
    return {
        name: {"digest": digest(value), "repr": repr(value)}
        for name, value in values.items()
    }


def put(store: Store, key: EntryKey, record: Record | bytes) -> None:
    with store.stage(key) as staging:
        staging.write("value", b"value")
        content = record.to_json() if isinstance(record, Record) else record
        staging.write("record.json", content)
        staging.commit()


def add(
    store: Store,
    number: int,
    day: int,
    fingerprint: str = FINGERPRINT,
    **values: int,
) -> EntryKey:
    """Store a call that was computed on a day."""
    key = key_of(number, fingerprint=fingerprint)
    put(store, key, record_of(key, f"2024-05-{day:02d}T00:00:00.000+00:00", **values))
    return key


def add_code(store: Store, code: CodeVersion) -> None:
    key = key_of(fingerprint=code.fingerprint)
    store.write_code(key, json.dumps({"function": "f", **code._asdict()}).encode())


def nearest_to(
    store: Store, *, code: CodeVersion | None = None, **values: int
) -> Explanation:
    arguments = facts_of(**values)
    digests = {name: facts["digest"] for name, facts in arguments.items()}
    key = CallKey(key_of(999_999), digests)
    return explain(store, key, arguments, code or code_of())


def test_of_entries_equally_near_the_last_one_computed_is_taken() -> None:
    store = DictStore()
    add(store, 1, day=1, x=1)
    last = add(store, 2, day=3, x=2)
    add(store, 3, day=2, x=3)

    assert nearest_to(store, x=4).nearest == last


def test_an_entry_of_the_same_code_is_nearer_than_one_of_the_same_arguments() -> None:
    store = DictStore()
    same_code = add(store, 1, day=1, x=1)
    same_arguments = add(store, 2, day=2, fingerprint=OTHER_FINGERPRINT, x=2)

    found = nearest_to(store, x=2)

    assert (found.nearest, found.same_arguments) == (same_code, same_arguments)


def test_of_other_code_the_same_arguments_are_nearest() -> None:
    store = DictStore()
    same = add(store, 1, day=1, fingerprint="a" * 32, x=2)
    add(store, 2, day=2, fingerprint="b" * 32, x=1)
    add_code(store, code_of("a" * 32, {f"unit {n}": "1" for n in range(9)}))
    add_code(store, code_of("b" * 32, {"f": "2"}))

    found = nearest_to(store, x=2)

    assert (found.nearest, found.reason, found.same_arguments) == (same, "code", None)


def test_else_the_fewest_differences_in_arguments_and_code_are_nearest() -> None:
    store = DictStore()
    add(store, 1, day=2, fingerprint="a" * 32, x=1)
    near = add(store, 2, day=1, fingerprint="b" * 32, x=1)
    add_code(store, code_of("a" * 32, {f"unit {n}": "1" for n in range(9)}))
    add_code(store, code_of("b" * 32, {"f": "2"}))

    found = nearest_to(store, x=2)

    assert (found.nearest, found.reason) == (near, "arguments and code")


def test_code_that_is_known_is_nearer_than_code_that_is_not() -> None:
    store = DictStore()
    add(store, 1, day=2, fingerprint="a" * 32, x=1)
    known = add(store, 2, day=1, fingerprint="b" * 32, x=1)
    add_code(store, code_of("b" * 32, {"f": "2"}))

    assert nearest_to(store, x=2).nearest == known


class CountingStore(DictStore):
    """Counts the records that are read."""

    records_read = 0

    def read(self, key: EntryKey, name: str) -> bytes | None:
        self.records_read += 1
        return super().read(key, name)


def test_of_many_entries_a_bounded_number_is_read() -> None:
    store = CountingStore()
    for number in range(3 * MOST_READ):
        add(store, number, day=1, x=number)
        add(store, number, day=2, fingerprint=OTHER_FINGERPRINT, x=number)

    found = nearest_to(store, x=-1)

    assert found.entries == 6 * MOST_READ
    assert found.nearest is not None
    assert found.nearest.fingerprint == FINGERPRINT
    assert store.records_read == 2 * MOST_READ


# --- damage ---


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"arguments": 3}']
)
def test_a_damaged_record_is_passed_over(content: bytes) -> None:
    store = DictStore()
    put(store, key_of(1), content)
    whole = add(store, 2, day=1, x=1)

    assert nearest_to(store, x=2).nearest == whole


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_where_every_record_is_damaged_that_is_told(content: bytes) -> None:
    store = DictStore()
    put(store, key_of(1), content)

    found = nearest_to(store, x=2)

    assert (found.reason, found.nearest, found.entries) == ("unreadable", None, 1)
    assert "no record of its 1 entry" in words(found)


def test_digests_of_another_version_are_not_compared() -> None:
    store = DictStore()
    key = key_of(1)
    record = record_of(key, "2024-05-01T00:00:00.000+00:00", x=1)
    put(store, key, dataclasses.replace(record, hash_version=HASH_VERSION + 1))

    assert nearest_to(store, x=1).reason == "unreadable"


def test_a_record_may_hold_anything_for_an_argument() -> None:
    store = DictStore()
    record = record_of(key_of(1), "0001-01-01T00:00:00").to_json()
    facts = (
        b'"arguments": {"x": {"digest": 3, "repr": ["x"]}, "\\ud800\\u001b[31m": {}}'
    )
    put(store, key_of(1), record.replace(b'"arguments": {}', facts))

    found = nearest_to(store, x=1)

    assert [change.name for change in found.arguments] == ["x", "\ud800\x1b[31m"]
    assert str(found).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"null", b"{}", b"\xff", b"[" * 100_000),
        json.dumps({**code_of(OTHER_FINGERPRINT)._asdict(), "units": 3}).encode(),
        json.dumps(
            {**code_of(OTHER_FINGERPRINT)._asdict(), "sources": {"f": 3}}
        ).encode(),
        json.dumps(code_of(FINGERPRINT)._asdict()).encode(),  # of another version
    ],
)
def test_without_the_description_of_the_code_it_is_told_that_it_changed(
    content: bytes,
) -> None:
    store = DictStore()
    key = add(store, 1, day=1, fingerprint=OTHER_FINGERPRINT, x=1)
    store.write_code(key, content)

    found = nearest_to(store, x=1)

    assert (found.reason, found.units) == ("code", ())
    assert "missing or damaged" in words(found)


@pytest.mark.parametrize("error", [OSError("no"), StoreError("no")])
@pytest.mark.parametrize("method", ["contains", "entries", "read", "read_code", "hits"])
def test_what_a_store_raises_passes(
    method: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise error

    store = DictStore()
    add(store, 1, day=1, fingerprint=OTHER_FINGERPRINT, x=1)
    monkeypatch.setattr(store, method, fail)

    with pytest.raises(type(error), match="no"):
        nearest_to(store, x=2)


# --- every store ---


@pytest.mark.parametrize("kind", ["dict", "local", "tiered"])
def test_every_store_can_be_asked(kind: str, tmp_path: Path, edit: Edit) -> None:
    stores: dict[str, Callable[[], Store]] = {
        "dict": DictStore,
        "local": lambda: LocalStore(tmp_path / "store"),
        "tiered": lambda: TieredStore(
            LocalStore(tmp_path / "near"), LocalStore(tmp_path / "far")
        ),
    }
    memory = Memory(stores[kind]())
    memory.cache(edit().fit)([1, 2])
    memory.flush()
    fit = memory.cache(edit("return sum(x)", "return max(x)").fit)

    assert [unit.name for unit in why(fit, [1, 2]).units] == ["analysis.total"]
    fit([1, 2])
    assert why(fit, [1, 2]).is_hit
    assert [change.name for change in why(fit, [3]).arguments] == ["x"]


def test_what_is_only_far_is_found(tmp_path: Path, edit: Edit) -> None:
    far = LocalStore(tmp_path / "far")
    Memory(far).cache(edit().fit)([1, 2])
    memory = Memory(TieredStore(LocalStore(tmp_path / "near"), far))
    fit = memory.cache(edit("return sum(x)", "return max(x)").fit)

    assert [unit.name for unit in why(fit, [1, 2]).units] == ["analysis.total"]


# --- a stored call ---


def test_a_stored_call_is_explained_by_those_before_it() -> None:
    store = DictStore()
    first = add(store, 1, day=1, x=1)
    second = add(store, 2, day=2, x=2)
    add(store, 3, day=3, x=2)

    found = explain_entry(store, second)

    assert found is not None
    assert (found.key, found.nearest, found.reason) == (second, first, "arguments")
    assert str(found).startswith(
        "analysis.fit(...) was computed: 1 argument differs from the nearest entry\n"
    )


def test_the_first_call_was_computed_since_nothing_was_stored_before() -> None:
    store = DictStore()
    first = add(store, 1, day=1, x=1)
    add(store, 2, day=2, x=2)

    found = explain_entry(store, first)

    assert found is not None
    assert found.reason == "no entries"
    assert "no earlier call of it was found" in words(found)


def test_a_stored_call_older_than_those_looked_at_is_not_called_the_first() -> None:
    store = DictStore()
    for number in range(MOST_READ + 2):
        add(store, number, day=2, x=number)
    old = add(store, MOST_READ + 2, day=1, x=-1)

    found = explain_entry(store, old)

    assert found is not None
    assert f"the {MOST_READ} last used of its {MOST_READ + 2} entries" in found.note


def test_a_record_that_names_another_function_leads_nowhere_else() -> None:
    store = DictStore()
    key = key_of(1)
    record = record_of(key, "2024-05-01T00:00:00.000+00:00", x=1)
    put(store, key, dataclasses.replace(record, function="other.fit"))

    call = read_call(store, key)

    assert call is not None
    assert call.key == key


def test_a_stored_call_goes_by_the_name_of_its_folder_too(
    memory: Memory, edit: Edit
) -> None:
    memory.cache(edit().fit)([1, 2])
    memory.cache(edit("return sum(x)", "return max(x)").fit)([1, 2])
    assert memory.store is not None
    listed = [info.key for info in memory.store.entries()]

    reasons = {
        getattr(explain_entry(memory.store, key), "reason", "") for key in listed
    }

    assert reasons <= {"no entries", "code"}
    assert not any(explain_entry(memory.store, key) is None for key in listed)


def test_an_entry_without_a_record_cannot_be_explained(
    memory: Memory, edit: Edit, tmp_path: Path
) -> None:
    fit = memory.cache(edit().fit)
    fit([1, 2])
    store, key, *_ = call_now(fit, [1, 2])
    only_value_file(tmp_path / "store").with_name("record.json").unlink()

    assert read_call(store, key.entry) is None
    assert explain_entry(store, key.entry) is None


# --- the text ---


def test_many_changes_are_shown_in_part() -> None:
    before = facts_of(**{f"x{number}": number for number in range(1000)})
    now = facts_of(**{f"x{number}": -1 for number in range(1000)})
    old = code_of("a" * 32, {f"unit {number}": "1" for number in range(1000)})
    new = code_of("b" * 32, {f"unit {number}": "2" for number in range(1000)})

    found = compare_calls(
        call_of(key_of(1, fingerprint="a" * 32), arguments=before, code=old),
        call_of(key_of(1, fingerprint="b" * 32), arguments=now, code=new),
    )

    assert (len(found.arguments), len(found.units)) == (1000, 1000)
    assert len(str(found).splitlines()) < 60
    assert "… 980 more arguments" in words(found)
