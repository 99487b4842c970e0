"""The laws of digests, on values that nobody thought of."""

from __future__ import annotations

import base64
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachekit.hashing import digest
from cachekit.serialization import codec_from, read_value, write_value
from tests.strategies import mutate, values

ROOT = Path(__file__).parents[2]

ANSWER = """
import base64, pickle, sys
from cachekit import digest
for line in sys.stdin:
    print(digest(pickle.loads(base64.b64decode(line))), flush=True)
"""


class OtherProcess:
    """A process with another hash seed that hashes what it is sent."""

    def __init__(self, seed: int) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        environment["PYTHONPATH"] = str(ROOT)
        self.process = subprocess.Popen(
            [sys.executable, "-c", ANSWER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def digest(self, value: object) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        # Protocol 5: an older one turns the bytes of some arrays around.
        sent = base64.b64encode(pickle.dumps(value, protocol=5)).decode()
        self.process.stdin.write(f"{sent}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def other_process() -> Iterator[OtherProcess]:
    other = OtherProcess(seed=12345)
    yield other
    other.process.communicate()


@given(values())
def test_a_deep_copy_has_the_same_digest(value: Any) -> None:
    assert digest(deepcopy(value)) == digest(value)


@given(values())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_another_process_finds_the_same_digest(
    other_process: OtherProcess, value: Any
) -> None:
    assert other_process.digest(value) == digest(value)


@given(values(), st.sampled_from([False, True]))
def test_a_stored_value_has_the_same_digest(value: Any, compress: bool) -> None:
    file = io.BytesIO()

    write_value(file, value, codec_from(compress))
    file.seek(0)

    assert digest(read_value(file)) == digest(value)


@given(values(), st.data())
def test_a_single_change_makes_another_digest(value: Any, data: st.DataObject) -> None:
    changed = mutate(value, data)

    assert digest(changed) != digest(value)


@given(values(), values())
def test_values_that_are_written_alike_are_the_only_ones_that_share(
    first: Any, second: Any
) -> None:
    if digest(first) == digest(second):
        # Not `==`, which says that 1 and True are equal, and that NaN is not.
        assert type(first) is type(second)
        assert digest([first]) == digest([second])
