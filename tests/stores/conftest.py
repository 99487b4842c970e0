"""Lets pytest explain the assertions of the shared suite as it does those of tests."""

from __future__ import annotations

import pytest

from tests.stores.servers import (
    azurite_server,
    moto_s3_server,
    rclone_s3_server,
    rclone_sftp_server,
    sftp_server,
)

__all__ = [
    "azurite_server",
    "moto_s3_server",
    "rclone_s3_server",
    "rclone_sftp_server",
    "sftp_server",
]

pytest.register_assert_rewrite("tests.stores.contract")
