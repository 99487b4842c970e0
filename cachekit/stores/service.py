"""Whole files on a service: read, written in one step, removed, listed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

from cachekit.errors import StoreError
from cachekit.stores.client import Client, is_out_of_range

# A file up to this size is one request; of a larger one, each part is.
PART_BYTES = 64 * 2**20

# So many files are removed by one request, where there are such.
MOST_REMOVED = 1000

# Where a file appears whole, in one request that can be refused if there is one.
# Elsewhere a file is written under another name, and renamed.
_WITH_CREATE = {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "s3", "s3a"}

# Left there by a process that is no more, at this age.
_ABANDONED_SECONDS = 24 * 3600

# What is staged here is called so.
_STAGED = re.compile(r"\.staging/[0-9a-f]{32}")

# What fsspec takes for more than itself in a path that is one of many.
_WILDCARDS = set("*?[]")

# How clients call the time of the last change, in the order of preference.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class Service:
    """Files on a remote file system, below one folder of it.

    Paths are given and returned relative to that folder, with ``/`` between parts.
    What fails is a `StoreError`, or a `LeftOut` once that was told.

    Parameters
    ----------
    client : Client
        Who asks for them.

    Attributes
    ----------
    client : Client
        As given.
    ignores_new : bool
        Whether the service was seen to overwrite what it was to create.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ignores_new = False
        self._folders: set[str] = set()
        self._has_staging = False

    def get(self, path: str) -> BinaryIO | None:
        """Return a file, open for reading at its start; None if there is none."""
        try:
            first = self._part(path, 0)
            if len(first) < PART_BYTES:
                return io.BytesIO(first)
            size = int(self.client.ask("info", path)["size"])
            file = tempfile.TemporaryFile()  # noqa: SIM115  (returned)
            try:
                file.write(first)
                while file.tell() < size:
                    part = self._part(path, file.tell())
                    if not part:  # replaced by a shorter one meanwhile
                        break
                    file.write(part)
            except BaseException:
                file.close()
                raise
            file.seek(0)
        except FileNotFoundError:
            return None
        return file

    def put(self, path: str, file: BinaryIO, *, new: bool) -> bool:
        """Write a file whole, in one step; with `new`, return False if there is one.

        Where the service cannot refuse, two that write the same new file at the same
        time both succeed, and the last one's stays.

        Parameters
        ----------
        path : str
            Where to write.
        file : binary file
            What to write, from its start; one larger than `PART_BYTES` has a `name`,
            which is its path.
        new : bool
            Whether to write only if there is no such file.
        """
        if new and not self.can_refuse and self.exists(path):
            return False
        if self.client.scheme in _WITH_CREATE:
            try:
                self._upload(path, file, mode="create" if new else "overwrite")
            except FileExistsError:
                return False
            return True
        self._upload_and_rename(path, file)
        return True

    @property
    def can_refuse(self) -> bool:
        """Whether of two who create the same file, one is told that there is one."""
        return self.client.scheme in _WITH_CREATE and not self.ignores_new

    def exists(self, path: str) -> bool:
        """Tell whether there is a file."""
        return bool(self.client.ask("exists", path))

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, many with one request; what is absent is passed over."""
        rest = list(paths)
        is_plain = not _WILDCARDS & set(self.client.url)
        while len(rest) > 1 and is_plain:
            some, rest = rest[:MOST_REMOVED], rest[MOST_REMOVED:]
            try:
                self.client.ask("rm", "", paths=some)
            except FileNotFoundError:  # some clients stop at what is absent
                for path in some:
                    self._remove_one(path)
        for path in rest:
            self._remove_one(path)

    def _remove_one(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.client.ask("rm_file", path)

    def find(self, folder: str = "") -> dict[str, tuple[int, float]]:
        """Return the files below a folder: bytes, and seconds since 1970 of each."""
        try:
            found = self.client.ask("find", folder, detail=True)
        except FileNotFoundError:
            return {}
        start = len(self.client.root) + 1
        return {
            about["name"][start:]: (int(about["size"] or 0), _time_of(about))
            for about in found.values()
            if about["type"] == "file"
        }

    # --- how they are moved ---

    def _part(self, path: str, start: int) -> bytes:
        try:
            part: bytes = self.client.ask(
                "cat_file", path, start=start, end=start + PART_BYTES
            )
        except Exception as error:
            if is_out_of_range(error):  # it is empty
                return b""
            raise
        # Some clients do not know of parts, and return the whole.
        return part[start:] if start and len(part) > PART_BYTES else part

    def _upload(self, path: str, file: BinaryIO, **how: str) -> None:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= PART_BYTES:
            self.client.ask("pipe_file", path, content=file.read(), size=size, **how)
        else:
            file.flush()
            self.client.ask("put_file", path, local=file.name, size=size, **how)

    def _upload_and_rename(self, path: str, file: BinaryIO) -> None:
        if not self._has_staging:
            self.client.ask("makedirs", ".staging", exist_ok=True)
            self._sweep()
            self._has_staging = True
        staged = f".staging/{uuid.uuid4().hex}"
        try:
            self._upload(staged, file)
            for _ in range(2):
                self._make_folder_of(path)
                try:
                    self.client.ask("mv", staged, to=path)
                except FileNotFoundError:  # the folder was removed meanwhile
                    self._folders.clear()
                else:
                    return
            raise StoreError(f"{self.client.name}/{path} is removed again and again")
        except BaseException:
            with contextlib.suppress(FileNotFoundError, StoreError):
                self.client.ask("rm_file", staged)
            raise

    def _make_folder_of(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        if folder not in self._folders:
            self.client.ask("makedirs", folder, exist_ok=True)
            self._folders.add(folder)

    def _sweep(self) -> None:
        """Remove what others have left half written."""
        now = time.time()
        left = self.find(".staging").items()
        self.remove(
            path
            for path, (_, at) in left
            if 0 < at < now - _ABANDONED_SECONDS and _STAGED.fullmatch(path)
        )


def _time_of(about: Mapping[str, Any]) -> float:
    """Return when a file was written, in seconds since 1970; 0 if that is not told."""
    for name in _TIMES:
        at = about.get(name)
        if isinstance(at, str):
            with contextlib.suppress(ValueError):
                at = datetime.fromisoformat(at)
        if isinstance(at, datetime):
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        if isinstance(at, (int, float)):
            return float(at)
    return 0.0
