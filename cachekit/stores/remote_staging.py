"""Entries on their way to a service: kept here until they are sent, the value last."""

from __future__ import annotations

import contextlib
from typing import BinaryIO, cast

from cachekit.stores.base import Staging
from cachekit.stores.client import LeftOut
from cachekit.stores.kept_files import KeptFile
from cachekit.stores.names import PIN, RECORD, VALUE
from cachekit.stores.service import PART_BYTES, Service

# What an entry may have besides the files that its call has made.
USUAL_FILES = {VALUE, RECORD, PIN}


class RemoteStaging(Staging):
    """An entry being written to a service: kept here until it is published.

    Parameters
    ----------
    service : Service
        Where it is to appear.
    path : str
        The place of the entry.
    more : dict
        Gets, by the place of an entry, the names of its files beside the usual ones.
    """

    def __init__(
        self, service: Service, path: str, more: dict[str, tuple[str, ...]]
    ) -> None:
        self._service = service
        self._path = path
        self._more = more
        self._files: dict[str, KeptFile] = {}

    def open(self, name: str) -> BinaryIO:
        """Open one file of the entry for writing."""
        if name in self._files:
            self._files[name].give_back()
        file = self._files[name] = KeptFile(PART_BYTES)
        return cast(BinaryIO, file)

    def commit(self) -> bool:
        """Publish the entry: its value last, for that is when it is there."""
        try:
            return self._commit()
        except LeftOut:
            return False

    def _commit(self) -> bool:
        self._note_files()
        others = [name for name in self._files if name != VALUE]
        # What is there is of an entry without a value, or of a writer at this moment.
        taken = [name for name in others if not self._put(name)]
        if not self._put(VALUE):
            return False
        for name in taken:
            self._put(name, new=False)
        return True

    def replace(self) -> None:
        """Publish the entry in the place of whatever is there."""
        with contextlib.suppress(LeftOut):
            self._replace()

    def _replace(self) -> None:
        self._note_files()
        for name in sorted(self._files, key=lambda name: name == VALUE):
            self._put(name, new=False)
        mine = {f"{self._path}/{name}" for name in self._files}
        found = self._service.find(self._path)
        self._service.remove(path for path in found if path not in mine)

    def discard(self) -> None:
        """Drop what was written; after a commit this does nothing."""
        for file in self._files.values():
            file.give_back()
        self._files.clear()

    def _note_files(self) -> None:
        """Have the store know what to remove with the entry."""
        files = tuple(self._files.keys() - USUAL_FILES)
        if files:
            self._more[self._path] = files

    def _put(self, name: str, *, new: bool = True) -> bool:
        file = cast(BinaryIO, self._files[name])
        return self._service.put(f"{self._path}/{name}", file, new=new)
