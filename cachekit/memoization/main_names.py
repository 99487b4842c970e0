"""What ``__main__`` stands for in a stored value: the script of who wrote it.

A class of a script is pickled as ``__main__.Model``. The same file may be imported
later, or the value be read by another script, which may have a `Model` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from cachekit.hashing import main_name
from cachekit.stores import EntryKey

_MAIN = ("__main__", "__mp_main__")


class MainNames(Mapping[str, str]):
    """Leads from modules as they were pickled to modules as they are called here.

    Parameters
    ----------
    script_of : callable
        Takes `key`, and returns the name of the writer's script, or None if it is not
        known. Called only for a value that has something of a script in it.
    key : EntryKey
        Of the value's entry.
    """

    __slots__ = ("_key", "_script_of")

    def __init__(
        self, script_of: Callable[[EntryKey], str | None], key: EntryKey
    ) -> None:
        self._script_of = script_of
        self._key = key

    def __getitem__(self, module: str) -> str:
        here = main_name()
        if module in _MAIN:
            writer = self._script_of(self._key)
            return "__main__" if writer is None or writer == here else writer
        if module == here:  # it was imported there, and is what runs here
            return "__main__"
        raise KeyError(module)

    def __iter__(self) -> Iterator[str]:
        yield from _MAIN
        yield main_name()

    def __len__(self) -> int:
        return len(_MAIN) + 1
