"""A library that another thread is importing just now is not there yet."""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

import pytest

from cachekit import nesting
from cachekit.hashing import held, stamps
from cachekit.memoization import tier
from cachekit.serialization import allowed
from cachekit.stores import client, sending
from tests.stores.entries import key_of


@pytest.fixture(autouse=True)
def half_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "numpy",
        "loky.process_executor",
        "multiprocessing.process",
        "fsspec.asyn",
    ):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))


@pytest.mark.parametrize("value", [2j, [1], print, key_of(1)], ids=repr)
def test_a_value_is_none_of_numpys(value: Any) -> None:
    assert not stamps._is_special_array(value)
    assert not held._is_numpys(value)
    assert not tier._is_plain_array(value)
    assert not allowed.is_numpy("dtype", value)


@pytest.mark.parametrize(("value", "expected"), [("a", True), ([1], False)])
def test_what_can_change_is_told(value: object, expected: bool) -> None:
    assert held.is_constant(value) == expected


def test_no_worker_is_above_this_process() -> None:
    assert nesting.depth_in_loky() == 0
    assert not nesting.is_importing_in_worker()


def test_this_process_is_no_daemon() -> None:
    assert not sending._may_be_terminated()


def test_a_forked_child_has_a_lock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.RLock()
    monkeypatch.setattr(client, "_making_clients", before)

    client._begin_anew_in_child()

    assert client._making_clients is not before
