"""A pytest plugin: put cachekit's functions in the place of joblib's in its tests."""

from __future__ import annotations

import types

import joblib
import joblib.compressor
import joblib.numpy_pickle
import pytest

import cachekit
from cachekit.serialization import CompressorWrapper

# The tests of persistence go through the module; what else they take from it is theirs.
PERSISTENCE = types.SimpleNamespace(
    **{**vars(joblib.numpy_pickle), "dump": cachekit.dump, "load": cachekit.load}
)

REPLACED = [
    (joblib.hash, cachekit.hash),
    (joblib.numpy_pickle, PERSISTENCE),
    (joblib.register_compressor, cachekit.register_compressor),
    (joblib.compressor.CompressorWrapper, CompressorWrapper),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Replace by identity, in the namespace of each test module."""
    for module in {item.getparent(pytest.Module) for item in items}:
        assert module is not None
        for name, thing in list(vars(module.obj).items()):
            for theirs, ours in REPLACED:
                if thing is theirs:
                    setattr(module.obj, name, ours)
