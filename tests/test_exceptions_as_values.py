"""Exceptions count, and are stored, alike whether dask was imported or not.

It has tblib register every exception with `copyreg`, for the whole process.
"""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import io
import cachekit

class Mine(Exception):
    pass

errors = [ValueError("a", 1), Mine("x"), OSError(2, "gone", "file")]
try:
    raise errors[0]
except ValueError:
    pass
before = [cachekit.digest(error) for error in errors]

import tblib.pickling_support
tblib.pickling_support.install(*errors)

assert [cachekit.digest(error) for error in errors] == before
file = io.BytesIO()
cachekit.dump(errors[0], file)
assert b"tblib" not in file.getvalue()
assert repr(cachekit.load(file, safe=True)) == "ValueError('a', 1)"
"""


def test_what_dask_does_to_exceptions_changes_no_digest_and_no_file() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
