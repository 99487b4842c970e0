"""Do to a store all that may be done to it, at random, for as long as it is wanted."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

from cachekit import Memory
from cachekit.stores import EntryInfo, LocalStore
from tests.torture.answers import COMPRESSIONS, Caller

NUMBERS = 24
MOST_ENTRIES = 12


class Churner:
    """One user of a store, who does not care for the others.

    Parameters
    ----------
    root : str
        Of the store.
    chance : random.Random
        Decides what is done.
    """

    def __init__(self, root: str, chance: random.Random) -> None:
        self._root = root
        self._chance = chance
        self._acts: dict[Callable[[], None], int] = {
            self._ask: 20,
            self._ask_pair: 8,
            self._replace: 8,
            self._delete: 6,
            self._reduce: 3,
            self._clear: 1,
            self._renew: 2,
        }
        self._renew()

    def act(self) -> None:
        """Do something."""
        (act,) = self._chance.choices([*self._acts], [*self._acts.values()])
        act()

    def _renew(self) -> None:
        """Begin again as a new process would; the hits so far become statistics."""
        policies: list[Literal["lru", "cost"]] = ["lru", "cost"]
        self._store = LocalStore(self._root, durable=self._chance.random() < 0.1)
        self._memory = Memory(
            self._store,
            compress=self._chance.choice(COMPRESSIONS),
            max_entries=MOST_ENTRIES,
            policy=self._chance.choice(policies),
        )
        self._caller = Caller(self._memory)

    def _ask(self) -> None:
        self._caller.ask(self._chance.randrange(NUMBERS))

    def _ask_pair(self) -> None:
        self._caller.ask_pair(self._chance.randrange(NUMBERS))

    def _replace(self) -> None:
        """Put a copy of an entry in its place."""
        info = self._some_entry()
        if info is None:
            return
        names = ("value", "record.json")
        contents = [self._store.read(info.key, name) for name in names]
        with self._store.stage(info.key) as staging:
            for name, content in zip(names, contents, strict=True):
                if content is None:  # it has just been taken away
                    return
                with staging.open(name) as file:
                    file.write(content)
            staging.replace()

    def _delete(self) -> None:
        info = self._some_entry()
        if info is not None:
            self._store.delete(info.key)

    def _reduce(self) -> None:
        self._memory.reduce_size(items_limit=self._chance.randrange(MOST_ENTRIES))

    def _clear(self) -> None:
        whole = self._chance.random() < 0.5
        (self._memory if whole else self._caller.answer).clear(warn=False)

    def _some_entry(self) -> EntryInfo | None:
        found = list(self._store.entries())
        return self._chance.choice(found) if found else None
