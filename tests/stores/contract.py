"""What every store must do. The suite is the specification.

The author of a store inherits `StoreContract`, gives it a fixture ``store`` and five
small methods which reach the stored bytes without the store where that is possible::

    class TestMyStore(StoreContract[MyStore]):
        @pytest.fixture
        def store(self, tmp_path: Path) -> MyStore:
            return MyStore(tmp_path)

        def put(self, store, key, files): ...

After each test the suite asks `litter`: whatever happened, nothing is left behind.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from cachekit.errors import EntryNotFound
from cachekit.stores import EntryKey, Store
from cachekit.stores.names import FILES, PIN, RECORD, VALUE, folder_name
from tests.stores.entries import (
    OTHER_FINGERPRINT,
    commit,
    commit_files,
    digests,
    key_of,
    pinned,
    record_of,
    replace,
    value_of,
)

S = TypeVar("S", bound=Store)

CODE = b'{"units": {}}'

ODD_NAMES = [
    "f",
    "analysis.make.<locals>.fit",
    "<lambda>",
    "..",
    "../escape",
    "/etc/escape",
    ".hidden",
    "a/b\\c",
    "with space",
    "line\nbreak",
    "nul\0byte",
    'quo"te:*?|',
    "größe.日本語.🙂",
    "x" * 119,
    "x" * 120,
    "x" * 121,
    "deeply." * 200,
    "é" * 120,
    "store.json",
    "value",
    "code.json",
    "record.json",
    "pinned",
    "Model",
    "analysis.Model.fit",
    "ÄÖÜ",
    "con",
    "nul.fit",
    "COM1.fit",
    "ends with a dot.",
]

# Each becomes the same once its odd characters are replaced or cut off.
ALIKE_NAMES = [
    "a_b",
    "a/b",
    "a\\b",
    "a<b",
    "a>b",
    ".a_b",
    "..a_b",
    "a" * 200,
    "a" * 201,
    "A_b",
    "a_B",
    "A_B",
    "A/B",
    "A" * 200,
]


class StoreContract(Generic[S]):
    """The suite; its tests use a fixture ``store``, fresh for each."""

    # --- what the author of a store writes ---

    def put(self, store: S, key: EntryKey, files: dict[str, bytes]) -> None:
        """Make an entry of these files; `key` has a harmless function name."""
        raise NotImplementedError

    def take(self, store: S, key: EntryKey) -> dict[str, bytes]:
        """Return the files of an entry; empty if there are none."""
        raise NotImplementedError

    def lose(self, store: S, key: EntryKey, name: str) -> None:
        """Take one file out of an entry, as a failing disk would."""
        raise NotImplementedError

    def age(self, store: S, key: EntryKey, seconds: float) -> None:
        """Make an entry look as if it was used last so many seconds ago."""
        raise NotImplementedError

    def litter(self, store: S) -> list[str]:
        """Name what is left of entries that were never published."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _nothing_is_left_behind(self, store: S) -> Iterator[None]:
        yield
        assert self.litter(store) == []

    # --- look up ---

    def test_an_absent_entry_is_none(self, store: S) -> None:
        key = key_of()

        assert store.open(key) is None
        assert store.read(key, VALUE) is None
        assert store.read_code(key) is None
        assert list(store.entries()) == []
        assert store.hits() == {}

    def test_an_entry_made_elsewhere_is_found(self, store: S) -> None:
        self.put(store, key_of(), {VALUE: b"the value", "record.json": b"{}"})

        assert value_of(store, key_of()) == b"the value"
        assert store.read(key_of(), VALUE) == b"the value"
        assert store.read(key_of(), "record.json") == b"{}"
        assert digests(store) == [key_of().digest]

    def test_an_absent_file_of_an_entry_is_none(self, store: S) -> None:
        commit(store, key_of())

        assert store.read(key_of(), "absent") is None

    @pytest.mark.parametrize("part", ["function", "fingerprint", "digest"])
    def test_every_part_of_the_key_counts(self, store: S, part: str) -> None:
        commit(store, key_of())
        other = key_of()._replace(**{part: "ab" * 16})

        assert store.open(other) is None

    # --- commit ---

    @pytest.mark.parametrize("value", [b"", b"v", bytes(range(256)) * 5000])
    def test_what_is_committed_is_there(self, store: S, value: bytes) -> None:
        committed = commit(store, key_of(), value)

        assert committed
        assert self.take(store, key_of()) == {VALUE: value, "record.json": b"{}"}
        assert value_of(store, key_of()) == value
        assert store.read(key_of(), VALUE) == value

    def test_nothing_is_there_before_the_commit(self, store: S) -> None:
        with store.stage(key_of()) as staging:
            with staging.open(VALUE) as file:
                file.write(b"value")

            assert store.open(key_of()) is None
            assert list(store.entries()) == []

    def test_leaving_without_a_commit_publishes_nothing(self, store: S) -> None:
        with store.stage(key_of()) as staging, staging.open(VALUE) as file:
            file.write(b"value")

        assert self.take(store, key_of()) == {}
        assert store.open(key_of()) is None
        assert list(store.entries()) == []

    @pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
    def test_an_exception_publishes_nothing(
        self, store: S, error: type[BaseException]
    ) -> None:
        def fail() -> None:
            with store.stage(key_of()) as staging, staging.open(VALUE) as file:
                file.write(b"half of the va")
                raise error

        with pytest.raises(error):
            fail()

        assert self.take(store, key_of()) == {}
        assert store.open(key_of()) is None

    def test_an_exception_after_the_commit_leaves_the_entry(self, store: S) -> None:
        def commit_and_fail() -> None:
            with store.stage(key_of()) as staging:
                with staging.open(VALUE) as file:
                    file.write(b"value")
                staging.commit()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            commit_and_fail()

        assert value_of(store, key_of()) == b"value"

    def test_discarding_is_idempotent(self, store: S) -> None:
        with store.stage(key_of()) as staging:
            staging.discard()
            staging.discard()

        assert store.open(key_of()) is None

    def test_the_first_of_two_commits_wins(self, store: S) -> None:
        first = commit(store, key_of(), b"first")
        second = commit(store, key_of(), b"second")

        assert (first, second) == (True, False)
        assert value_of(store, key_of()) == b"first"

    def test_the_first_to_commit_wins_not_the_first_to_stage(self, store: S) -> None:
        with store.stage(key_of()) as staging:
            with staging.open(VALUE) as file:
                file.write(b"staged first")
            commit(store, key_of(), b"committed first")

            assert not staging.commit()

        assert value_of(store, key_of()) == b"committed first"

    def test_many_threads_that_commit_one_key_make_one_entry(self, store: S) -> None:
        values = [bytes([number]) * 100_000 for number in range(8)]
        barrier = threading.Barrier(len(values))

        def commit_with_others(value: bytes) -> bool:
            barrier.wait()
            return commit(store, key_of(), value)

        with ThreadPoolExecutor(len(values)) as threads:
            won = list(threads.map(commit_with_others, values))

        assert sum(won) == 1
        assert value_of(store, key_of()) == values[won.index(True)]

    def test_many_threads_that_commit_many_keys_all_win(self, store: S) -> None:
        keys = [key_of(number) for number in range(60)]

        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(lambda key: commit(store, key), keys))

        assert all(won)
        assert digests(store) == sorted(key.digest for key in keys)

    def test_an_entry_that_lost_its_value_can_be_committed_again(
        self, store: S
    ) -> None:
        commit(store, key_of(), b"old")
        self.lose(store, key_of(), VALUE)

        assert store.open(key_of()) is None
        assert list(store.entries()) == []
        assert commit(store, key_of(), b"new")
        assert value_of(store, key_of()) == b"new"

    def test_an_entry_that_lost_its_record_is_still_an_entry(self, store: S) -> None:
        commit(store, key_of(), b"value")
        self.lose(store, key_of(), "record.json")

        assert value_of(store, key_of()) == b"value"
        assert store.read(key_of(), "record.json") is None
        assert digests(store) == [key_of().digest]

    # --- replace ---

    def test_replacing_puts_the_new_in_the_place_of_the_old(self, store: S) -> None:
        commit(store, key_of(), b"old")

        replace(store, key_of(), b"new")

        assert self.take(store, key_of()) == {VALUE: b"new"}
        assert value_of(store, key_of()) == b"new"
        assert len(digests(store)) == 1

    def test_replacing_the_absent_commits(self, store: S) -> None:
        replace(store, key_of(), b"new")

        assert value_of(store, key_of()) == b"new"

    def test_many_threads_that_replace_one_key_leave_one_of_theirs(
        self, store: S
    ) -> None:
        values = [bytes([number]) * 50_000 for number in range(6)]
        barrier = threading.Barrier(len(values))

        def replace_with_others(value: bytes) -> None:
            barrier.wait()
            replace(store, key_of(), value)

        with ThreadPoolExecutor(len(values)) as threads:
            list(threads.map(replace_with_others, values))

        assert value_of(store, key_of()) in values
        assert len(digests(store)) == 1

    # --- files that a call has made ---

    def test_files_of_an_entry_are_found_on_this_machine(self, store: S) -> None:
        made = {
            "plot.png": b"drawn",
            "deep/er/empty": b"",
            "gr\u00f6\u00dfe \U0001f642": b"g",
        }

        assert commit_files(store, key_of(), made)

        folder = store.files(key_of(), made)
        assert {name: (folder / name).read_bytes() for name in made} == made
        for name, content in made.items():
            assert store.read(key_of(), f"{FILES}/{name}") == content

    def test_files_are_written_where_the_staging_says(self, store: S) -> None:
        with store.stage(key_of()) as staging:
            folder = staging.folder()
            staging.write(VALUE, b"value")
            staging.write(RECORD, record_of(["deep/plot.png"]))
            if folder is None:
                with staging.open(f"{FILES}/deep/plot.png") as file:
                    file.write(b"drawn")
            else:
                assert staging.folder() == folder, "it is always the same"
                (folder / "deep").mkdir()
                (folder / "deep" / "plot.png").write_bytes(b"drawn")
            assert staging.commit()

        folder = store.files(key_of(), ["deep/plot.png"])
        assert (folder / "deep" / "plot.png").read_bytes() == b"drawn"

    def test_a_file_of_this_machine_is_taken_into_an_entry(
        self, store: S, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        source = tmp_path_factory.mktemp("made") / "plot.png"
        source.write_bytes(b"drawn")
        with store.stage(key_of()) as staging:
            staging.add("deep/first.png", source)
            staging.add("deep/first.png", source)
            staging.write(VALUE, b"value")
            staging.write(RECORD, record_of(["deep/first.png"]))
            staging.commit()
        source.unlink()

        folder = store.files(key_of(), ["deep/first.png"])

        assert (folder / "deep" / "first.png").read_bytes() == b"drawn"

    def test_files_of_an_unpublished_entry_leave_nothing(self, store: S) -> None:
        with store.stage(key_of()) as staging:
            folder = staging.folder()
            if folder is not None:
                (folder / "plot.png").write_bytes(b"drawn")
            else:
                staging.write(f"{FILES}/plot.png", b"drawn")

        assert self.take(store, key_of()) == {}
        assert list(store.entries()) == []

    def test_files_of_who_comes_second_are_dropped(self, store: S) -> None:
        commit_files(store, key_of(), {"plot.png": b"first"})

        assert not commit_files(store, key_of(), {"plot.png": b"second"})

        folder = store.files(key_of(), ["plot.png"])
        assert (folder / "plot.png").read_bytes() == b"first"

    def test_files_are_replaced_with_their_entry(self, store: S) -> None:
        commit_files(store, key_of(), {"plot.png": b"old", "gone.png": b"old"})
        store.files(key_of(), ["plot.png"], "old")

        commit_files(store, key_of(), {"plot.png": b"new"}, over=True)

        for version in ("", "new"):
            folder = store.files(key_of(), ["plot.png"], version)
            assert (folder / "plot.png").read_bytes() == b"new"
        store.flush()
        assert store.read(key_of(), f"{FILES}/gone.png") is None

    def test_files_count_in_the_size_of_an_entry(self, store: S) -> None:
        commit_files(store, key_of(), {"plot.png": bytes(1000), "a/b/c": bytes(500)})

        (info,) = store.entries()

        assert info.size == 1500 + len(b"value") + len(record_of(["plot.png", "a/b/c"]))

    @pytest.mark.parametrize("verb", ["delete", "delete_many", "clear"])
    def test_files_are_removed_with_their_entry(self, store: S, verb: str) -> None:
        commit_files(store, key_of(1), {"plot.png": b"drawn", "deep/er": b"drawn"})
        commit_files(store, key_of(2), {"plot.png": b"stays"})

        if verb == "delete":
            store.delete(key_of(1))
        elif verb == "delete_many":
            store.delete_many([key_of(1), key_of(99)])
        else:
            store.clear()

        assert self.take(store, key_of(1)) == {}
        for name in ("plot.png", "deep/er"):
            assert store.read(key_of(1), f"{FILES}/{name}") is None
        if verb != "clear":
            folder = store.files(key_of(2), ["plot.png"])
            assert (folder / "plot.png").read_bytes() == b"stays"

    def test_an_absent_file_is_not_found(self, store: S) -> None:
        commit_files(store, key_of(), {"plot.png": b"drawn"})

        # A store whose files are on this machine need not look.
        with contextlib.suppress(EntryNotFound):
            folder = store.files(key_of(), ["absent.png"])
            assert not (folder / "absent.png").exists()

    def test_an_entry_has_no_folder_of_files_unless_it_has_files(
        self, store: S
    ) -> None:
        commit(store, key_of())

        assert set(self.take(store, key_of())) == {VALUE, RECORD}

    # --- values that are mapped ---

    def test_a_value_that_is_on_this_machine_can_be_located(self, store: S) -> None:
        assert store.locate(key_of()) is None
        commit(store, key_of(), b"value")

        path = store.locate(key_of())

        assert path is None or Path(path).read_bytes() == b"value"
        store.delete(key_of())
        assert store.locate(key_of()) is None

    def test_a_use_can_be_noted_without_opening(self, store: S) -> None:
        commit(store, key_of())
        self.age(store, key_of(), 10_000)
        (old,) = store.entries()

        store.note_use(key_of())
        store.note_use(key_of(99))

        (used,) = store.entries()
        assert used.last_used > old.last_used + 5000

    # --- delete and clear ---

    def test_a_deleted_entry_is_gone(self, store: S) -> None:
        commit(store, key_of(1))
        commit(store, key_of(2))

        store.delete(key_of(1))

        assert self.take(store, key_of(1)) == {}
        assert store.open(key_of(1)) is None
        assert digests(store) == [key_of(2).digest]

    def test_deleting_is_idempotent(self, store: S) -> None:
        commit(store, key_of())

        store.delete(key_of())
        store.delete(key_of())
        store.delete(key_of(function="never.seen"))

        assert list(store.entries()) == []

    def test_a_listed_entry_can_be_deleted_by_its_key(self, store: S) -> None:
        commit(store, key_of(function="make.<locals>.fit"))
        (info,) = store.entries()

        store.delete(info.key)

        assert list(store.entries()) == []

    def test_a_deleted_entry_can_be_committed_again(self, store: S) -> None:
        commit(store, key_of(), b"old")
        store.delete(key_of())

        assert commit(store, key_of(), b"new")
        assert value_of(store, key_of()) == b"new"

    def test_clearing_removes_every_entry(self, store: S) -> None:
        for number in range(3):
            commit(store, key_of(number, function=f"analysis.f{number}"))

        store.clear()

        assert list(store.entries()) == []
        assert store.open(key_of(1, function="analysis.f1")) is None

    def test_clearing_a_function_removes_all_its_versions_and_no_more(
        self, store: S
    ) -> None:
        commit(store, key_of(1))
        commit(store, key_of(2, fingerprint=OTHER_FINGERPRINT))
        commit(store, key_of(3, function="analysis.fit_more"))

        store.clear("analysis.fit")

        assert digests(store) == [key_of(3).digest]

    def test_clearing_forgets_the_code_versions(self, store: S) -> None:
        kept = key_of(function="analysis.kept")
        store.write_code(key_of(), CODE)
        store.write_code(kept, CODE)
        commit(store, key_of())

        store.clear("analysis.fit")

        assert store.read_code(key_of()) is None
        assert store.read_code(kept) == CODE

    def test_clearing_what_is_empty_is_silent(self, store: S) -> None:
        store.clear()
        store.clear("never.seen")

        assert list(store.entries()) == []

    def test_a_cleared_store_is_as_good_as_new(self, store: S) -> None:
        commit(store, key_of(), b"old")
        store.clear()

        assert commit(store, key_of(), b"new")
        assert value_of(store, key_of()) == b"new"

    def test_many_entries_are_deleted_and_no_others(self, store: S) -> None:
        keys = [key_of(number) for number in range(5)]
        for key in keys:
            commit(store, key)

        store.delete_many([keys[3], keys[1], key_of(99), keys[1]])

        assert digests(store) == sorted(key.digest for key in keys[::2])
        assert store.open(keys[1]) is None
        assert self.take(store, keys[3]) == {}

    @pytest.mark.parametrize("verb", ["delete", "replace", "clear"])
    def test_an_open_reader_outlives_its_entry(self, store: S, verb: str) -> None:
        value = bytes(range(256)) * 4000
        commit(store, key_of(), value)
        file = store.open(key_of())
        assert file is not None

        with file:
            start = file.read(100)
            if verb == "delete":
                store.delete(key_of())
            elif verb == "replace":
                replace(store, key_of(), b"new")
            else:
                store.clear()

            assert start + file.read() == value

    def test_commits_survive_clearing_at_the_same_time(self, store: S) -> None:
        done = threading.Event()

        def clear_again_and_again() -> None:
            while not done.is_set():
                store.clear()

        with ThreadPoolExecutor(1) as threads:
            clearing = threads.submit(clear_again_and_again)
            try:
                for number in range(150):
                    store.write_code(key_of(number), CODE)
                    commit(store, key_of(number))
            finally:
                done.set()

        clearing.result()

    # --- pins ---

    def test_a_listing_tells_what_is_pinned(self, store: S) -> None:
        commit(store, key_of(1))
        commit(store, key_of(2))

        store.pin(key_of(1))

        assert pinned(store) == [key_of(1).digest]
        assert digests(store) == sorted([key_of(1).digest, key_of(2).digest])

    def test_a_pin_is_an_empty_file_of_the_entry(self, store: S) -> None:
        commit(store, key_of())
        (before,) = store.entries()

        store.pin(key_of())

        (after,) = store.entries()
        assert self.take(store, key_of())[PIN] == b""
        assert store.read(key_of(), PIN) == b""
        assert after == before._replace(is_pinned=True), "a pin is no use"
        assert value_of(store, key_of()) == b"value"

    def test_an_entry_made_elsewhere_keeps_its_pin(self, store: S) -> None:
        self.put(store, key_of(), {VALUE: b"v", "record.json": b"{}", PIN: b""})

        assert pinned(store) == [key_of().digest]

    def test_pinning_and_unpinning_are_idempotent(self, store: S) -> None:
        commit(store, key_of())

        store.pin(key_of())
        store.pin(key_of())
        assert pinned(store) == [key_of().digest]

        store.unpin(key_of())
        store.unpin(key_of())
        assert pinned(store) == []
        assert value_of(store, key_of()) == b"value"

    def test_a_listed_entry_can_be_pinned_by_its_key(self, store: S) -> None:
        commit(store, key_of(function="make.<locals>.Fit"))
        (info,) = store.entries()

        store.pin(info.key)
        assert len(pinned(store)) == 1

        store.unpin(info.key)
        assert pinned(store) == []

    def test_the_absent_cannot_be_pinned_and_does_not_appear(self, store: S) -> None:
        commit(store, key_of(1))

        for absent in (key_of(2), key_of(function="never.seen")):
            with pytest.raises(EntryNotFound, match=r"analysis\.fit|never\.seen"):
                store.pin(absent)
            store.unpin(absent)

        assert digests(store) == [key_of(1).digest]
        assert self.take(store, key_of(2)) == {}

    def test_an_entry_that_lost_its_value_cannot_be_pinned(self, store: S) -> None:
        commit(store, key_of())
        self.lose(store, key_of(), VALUE)

        with pytest.raises(EntryNotFound):
            store.pin(key_of())

        assert commit(store, key_of())
        assert pinned(store) == []

    @pytest.mark.parametrize("verb", ["delete", "delete_many", "clear", "replace"])
    def test_a_pinned_entry_can_be_removed_and_its_pin_goes_with_it(
        self, store: S, verb: str
    ) -> None:
        commit(store, key_of(), b"old")
        store.pin(key_of())

        if verb == "delete":
            store.delete(key_of())
        elif verb == "delete_many":
            store.delete_many([key_of()])
        elif verb == "clear":
            store.clear()
        if verb == "replace":
            replace(store, key_of(), b"new")
        else:
            assert self.take(store, key_of()) == {}
            assert commit(store, key_of(), b"new")

        assert value_of(store, key_of()) == b"new"
        assert pinned(store) == []

    def test_a_commit_that_comes_second_leaves_the_pin(self, store: S) -> None:
        commit(store, key_of(), b"first")
        store.pin(key_of())

        assert not commit(store, key_of(), b"second")

        assert pinned(store) == [key_of().digest]

    def test_pins_set_while_entries_are_removed_bring_none_back(self, store: S) -> None:
        done = threading.Event()

        def pin_again_and_again() -> None:
            while not done.is_set():
                with contextlib.suppress(EntryNotFound):
                    store.pin(key_of())

        with ThreadPoolExecutor(1) as threads:
            pinning = threads.submit(pin_again_and_again)
            try:
                for _ in range(60):
                    assert commit(store, key_of())
                    store.delete(key_of())
            finally:
                done.set()

        pinning.result()
        assert list(store.entries()) == []
        assert store.open(key_of()) is None

    # --- listing ---

    def test_a_listing_tells_key_size_and_last_use(self, store: S) -> None:
        commit(store, key_of(), b"12345")

        (info,) = store.entries()

        assert info.key == key_of()
        assert info.size == len(b"12345") + len(b"{}")
        assert info.last_used > 1.7e9

    def test_a_listing_can_be_of_one_function(self, store: S) -> None:
        commit(store, key_of(1))
        commit(store, key_of(2, fingerprint=OTHER_FINGERPRINT))
        commit(store, key_of(3, function="analysis.fit_more"))

        assert len(digests(store, "analysis.fit")) == 2
        assert digests(store, "analysis.fit_more") == [key_of(3).digest]
        assert digests(store, "never.seen") == []

    def test_entries_deleted_while_they_are_listed_are_passed_over(
        self, store: S
    ) -> None:
        for number in range(5):
            commit(store, key_of(number, function=f"analysis.f{number}"))
        listing = store.entries()
        first = next(listing)

        store.clear()
        rest = list(listing)

        assert first.key not in [info.key for info in rest]

    def test_a_use_is_noted(self, store: S) -> None:
        commit(store, key_of())
        self.age(store, key_of(), 10_000)
        (old,) = store.entries()

        value_of(store, key_of())

        (used,) = store.entries()
        assert used.last_used > old.last_used + 5000

    # --- names ---

    @pytest.mark.parametrize("function", ODD_NAMES, ids=lambda name: repr(name)[:20])
    def test_a_function_of_any_name_can_be_cached(
        self, store: S, function: str
    ) -> None:
        key = key_of(function=function)

        store.write_code(key, CODE)
        assert commit(store, key)
        assert value_of(store, key) == b"value"
        assert store.read_code(key) == CODE
        assert digests(store) == digests(store, function) == [key.digest]

        store.clear(function)
        assert store.open(key) is None

    def test_names_that_look_alike_do_not_collide(self, store: S) -> None:
        keys = [key_of(function=function) for function in ALIKE_NAMES]

        for key in keys:
            assert commit(store, key, key.function.encode())

        for key in keys:
            assert value_of(store, key) == key.function.encode()

    # --- code versions ---

    def test_a_code_version_is_written_once(self, store: S) -> None:
        store.write_code(key_of(1), b"first")
        store.write_code(key_of(2), b"second")

        assert store.read_code(key_of(3)) == b"first"

    def test_each_code_version_has_its_own_description(self, store: S) -> None:
        other = key_of(fingerprint=OTHER_FINGERPRINT)

        store.write_code(key_of(), b"one")
        store.write_code(other, b"other")

        assert store.read_code(key_of()) == b"one"
        assert store.read_code(other) == b"other"

    def test_a_code_version_is_no_entry(self, store: S) -> None:
        store.write_code(key_of(), CODE)

        assert list(store.entries()) == []

    def test_deleting_an_entry_keeps_its_code_version(self, store: S) -> None:
        store.write_code(key_of(), CODE)
        commit(store, key_of())

        store.delete(key_of())

        assert store.read_code(key_of()) == CODE

    # --- hits ---

    def test_hits_add_up(self, store: S) -> None:
        one, two = key_of(1), key_of(2, function="make.<locals>.fit")

        store.add_hits({one: 2, two: 1})
        store.add_hits({one: 3})

        assert store.hits() == {one.path: 5, two.path: 1}

    def test_misses_are_counted_by_function(self, store: S) -> None:
        commit(store, key_of())
        store.add_hits({key_of(): 2}, {"analysis.fit": 3, "analysis.Model.fit": 1})
        store.add_hits({}, {"analysis.fit": 4})

        assert store.hits() == {key_of().path: 2}
        assert store.misses() == {
            "analysis.fit": 7,
            folder_name("analysis.Model.fit"): 1,
        }

        store.clear("analysis.fit")

        assert store.hits() == {}
        assert store.misses() == {folder_name("analysis.Model.fit"): 1}

    def test_more_taken_off_than_was_counted_is_none(self, store: S) -> None:
        commit(store, key_of())

        store.add_hits({key_of(): -2})

        assert store.hits() == {}

    def test_hits_of_many_threads_add_up(self, store: S) -> None:
        barrier = threading.Barrier(8)

        def add_with_others(_: int) -> None:
            barrier.wait()
            for _ in range(6):
                store.add_hits({key_of(): 1})

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(add_with_others, range(8)))

        assert store.hits() == {key_of().path: 48}

    # --- documents ---

    def test_a_document_is_kept_and_replaced(self, store: S) -> None:
        path = "runs/20261122-a.json"
        assert store.read_document(path) is None

        store.write_document(path, b'{"a": 1}')
        store.write_document(path, b'{"a": 2}')

        assert store.read_document(path) == b'{"a": 2}'
        assert store.documents("runs") == [path]
        assert store.documents(".accepted") == []

    def test_documents_are_listed_in_order_and_removed(self, store: S) -> None:
        for name in "cab":
            store.write_document(f"runs/{name}.json", b"{}")

        store.remove_document("runs/b.json")
        store.remove_document("runs/b.json")

        assert store.documents("runs") == ["runs/a.json", "runs/c.json"]
        assert store.read_document("runs/b.json") is None

    def test_runs_outlive_the_entries_and_what_was_accepted_does_not(
        self, store: S
    ) -> None:
        commit(store, key_of())
        store.write_document("runs/a.json", b"{}")
        store.write_document(".accepted/f.json", b"{}")

        store.clear()

        assert store.documents("runs") == ["runs/a.json"]
        assert store.documents(".accepted") == []
        assert list(store.entries()) == []

    @pytest.mark.parametrize(
        "path",
        ["a.json", "runs", "runs/", "runs/../x", "other/a.json", "runs/.a", "/a"],
    )
    def test_a_document_leads_nowhere_else(self, store: S, path: str) -> None:
        with pytest.raises(ValueError, match="no place for a document"):
            store.write_document(path, b"{}")
        with pytest.raises(ValueError, match="no place for a document"):
            store.read_document(path)
