"""Why a call was computed, asked from Python: of names, of functions, of entries."""

from __future__ import annotations

import functools
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

from cachekit import EntryNotFound, Memory, inspection
from cachekit.memoization.memory import all_offline
from cachekit.stores import LocalStore


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder of which the modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    # What is imported only now would be forgotten.
    import_module("cachekit.parallel")
    for name in inspection.__all__:
        getattr(inspection, name)
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def fit(x: int, order: int = 1) -> int:
    return x * order


def write(folder: Path, name: str, source: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))


# --- names ---


@pytest.mark.parametrize(
    ("name", "is_function"),
    [
        *(("analysis.fit", True), ("analysis:fit", True), ("a/b.py:fit", True)),
        *(("a.b.C.fit", True), ("größe.fit", True), ("a.py:make.<locals>.f", True)),
        *(("3f9c2d", False), ("abcdef", False), ("1.5", False), ("fit", False)),
        ("store/analysis.fit/3f9c/ab/cdef", False),
        ("s3://bucket/store/analysis.fit/3f9c/ab/cdef", False),
    ],
)
def test_the_name_of_a_function_is_told_from_that_of_an_entry(
    name: str, is_function: bool
) -> None:
    assert inspection.is_function_name(name) == is_function


def test_a_function_is_imported_from_the_current_folder(folder: Path) -> None:
    write(folder, "deep/inside/steps.py", "def run(x):\n    return x + 1\n")

    for name in ("deep.inside.steps.run", "deep.inside.steps:run"):
        function = inspection.import_function(name)

        assert callable(function)
        assert function(1) == 2


def test_what_is_not_guarded_computes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        folder,
        "job.py",
        """
        import sys
        from cachekit import Memory

        @Memory("store").cache
        def fit(x):
            return x

        print("begins", sys.argv)
        fit(1)
        never = True
        """,
    )

    cached = inspection.import_function("job.py:fit")

    assert inspection.is_cached(cached)
    assert list(LocalStore(folder / "store").entries()) == []
    assert not hasattr(sys.modules["job"], "never")
    output = capsys.readouterr()
    assert (output.out, "begins" in output.err) == ("", True)


@pytest.mark.parametrize(
    "loop",
    [
        "Parallel(n_jobs=2)(delayed(fit)(x) for x in range(3))",
        "fit.map(range(3), n_jobs=2)",
    ],
)
def test_what_is_not_guarded_starts_no_workers(folder: Path, loop: str) -> None:
    write(
        folder,
        "sweeping.py",
        f"""
        import pathlib
        from cachekit import Memory, Parallel, delayed

        @Memory("store").cache
        def fit(x):
            pathlib.Path("computed").touch()
            return x

        {loop}
        pathlib.Path("went on").touch()
        """,
    )

    found = inspection.import_function("sweeping:fit")

    assert getattr(found, "__name__", None) == "fit"
    assert not (folder / "computed").exists()
    assert not (folder / "went on").exists()


def test_a_script_that_wants_arguments_is_imported_so_far(folder: Path) -> None:
    write(folder, "job.py", "def fit(x): return x\nimport sys\nsys.exit('usage')\n")

    assert callable(inspection.import_function("job.py:fit"))


def test_offline_ends_with_its_block(memory: Memory) -> None:
    with all_offline():
        assert memory.only_hits
    assert not memory.only_hits


# --- calls ---


def test_a_cached_function_is_asked_about_in_its_own_store(memory: Memory) -> None:
    cached = memory.cache(fit)
    cached(2)

    assert inspection.why_call(cached, [2]).is_hit
    assert not inspection.why_call(cached, [2], {"order": 2}).is_hit
    assert inspection.why_function(cached).is_hit


def test_in_another_store_its_options_hold(memory: Memory, tmp_path: Path) -> None:
    other = Memory(tmp_path / "other")
    other.cache(fit, ignore=["order"])(2)
    cached = memory.cache(fit, ignore=["order"])

    found = inspection.why_call(cached, [2, 5], store=other.store)

    assert (found.is_hit, found.is_cached) == (True, True)


def test_a_decorated_cached_function_is_found_within(memory: Memory) -> None:
    cached = memory.cache(fit)

    @functools.wraps(cached)
    def logged(x: int) -> int:
        return cached(x)

    logged(3)

    assert inspection.is_cached(logged)
    assert inspection.why_call(logged, [3]).is_hit


def test_a_class_method_is_bound(memory: Memory) -> None:
    class Model:
        @classmethod
        def make(cls, x: int) -> int:
            return x

    Model.make = memory.cache(Model.make)  # type: ignore[method-assign]
    Model.make(1)

    assert inspection.why_call(Model.make, [1]).is_hit


def test_a_plain_function_needs_a_store(memory: Memory) -> None:
    memory.cache(fit)(2)

    found = inspection.why_call(fit, [2], store=memory.store)

    assert (found.is_hit, found.is_cached) == (True, False)
    with pytest.raises(ValueError, match="no store was named"):
        inspection.why_call(fit, [2])


def test_of_a_memory_without_a_store_it_is_said_so() -> None:
    found = inspection.why_function(Memory(None).cache(fit))

    assert not found.is_hit
    assert "not cached" in found.explanation.note


def test_where_nothing_is_stored_calls_of_that_name_are_told(memory: Memory) -> None:
    def other(x: int) -> int:
        return x

    other.__qualname__, other.__module__ = "fit", "elsewhere"
    memory.cache(other)(1)

    found = inspection.why_function(memory.cache(fit))

    assert found.explanation.reason == "no entries"
    assert found.explanation.note == "there are calls of elsewhere.fit"


# --- entries ---


def test_a_stored_call_is_explained_by_what_was_before(memory: Memory) -> None:
    cached = memory.cache(fit)
    cached(1)
    cached(2)
    assert memory.store is not None
    last = max(
        inspection.entries(memory.store),
        key=lambda entry: entry.record.started if entry.record else "",
    )

    found = inspection.why_entry(memory.store, last.key.digest[:12])

    assert (found.is_hit, found.explanation.is_stored) == (True, True)
    assert found.explanation.reason in ("arguments", "no entries")


def test_an_entry_without_a_record_cannot_be_explained(memory: Memory) -> None:
    memory.cache(fit)(1)
    assert isinstance(memory.store, LocalStore)
    (record,) = memory.store.root.glob("*/*/??/*/record.json")
    record.unlink()
    (entry,) = inspection.entries(memory.store)

    with pytest.raises(EntryNotFound, match="missing or damaged"):
        inspection.why_entry(memory.store, entry.key.digest)
