"""Lets pytest explain the assertions of the shared suite as it does those of tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.stores.contract")
