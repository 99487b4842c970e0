"""Have the code of a function count as an older version: the edit changes no result.

`propose` finds that version, and what has changed since; `accept` says so to the store.
"""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cachekit.errors import EntryNotFound
from cachekit.inspection.explaining import as_cached
from cachekit.inspection.recomputing import Recomputed, recompute
from cachekit.memoization import MemorizedFunc
from cachekit.memoization.accepting import (
    Acceptance,
    read_acceptances,
    write_acceptance,
)
from cachekit.memoization.comparing import UnitChange, compare_code
from cachekit.memoization.explaining import read_code, with_statements
from cachekit.memoization.lineage import timestamp
from cachekit.stores import EntryInfo, EntryKey, Store


@dataclass(frozen=True)
class Proposal:
    """What is to be accepted.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    fingerprint : str
        Of its code now.
    counts_as : str
        Of the version as which it is to count.
    entries : tuple of EntryInfo
        What is stored of that version.
    last_used : float
        Seconds since 1970, of the entry used last.
    units : tuple of UnitChange
        What has changed since.
    own : int
        How many calls are stored by the code as it is now, which will not count.
    """

    function: str
    fingerprint: str
    counts_as: str
    entries: tuple[EntryInfo, ...] = field(repr=False)
    last_used: float
    units: tuple[UnitChange, ...]
    own: int
    cached: MemorizedFunc[..., object] = field(repr=False)


def propose(
    function: object, *, store: Store | None = None, version: str | None = None
) -> Proposal:
    """Find the version of a function that its code may count as.

    Parameters
    ----------
    function : callable or str
        A cached function, or its name: see `import_function`.
    store : Store, optional
        In the place of the function's own.
    version : str, optional
        The first digits of its fingerprint; the one used last if not given.

    Returns
    -------
    Proposal
        Nothing is accepted yet: `accept` does that.

    Raises
    ------
    ValueError
        If there is no such function, or it is not cached.
    EntryNotFound
        If there is no other version, or none or several whose fingerprints begin so.
    """
    cached = _cached_function(function, store)
    name, now = cached.func_id, cached._code.fingerprint()
    versions: dict[str, list[EntryInfo]] = {}
    for info in cached.store_backend.entries(name):
        versions.setdefault(info.key.fingerprint, []).append(info)
    own = versions.pop(now, [])
    counts_as = _chosen(name, versions, version)
    code = read_code(cached.store_backend, EntryKey(name, counts_as, ""))
    if code is None:
        raise EntryNotFound(
            f"the description of version {counts_as[:12]} of {name}() is missing or "
            f"damaged, so nothing can count as it"
        )
    changes = compare_code(code, cached._code.describe())
    return Proposal(
        function=name,
        fingerprint=now,
        counts_as=counts_as,
        entries=tuple(versions[counts_as]),
        last_used=_last_use(versions[counts_as]),
        units=tuple(map(with_statements, changes)),
        own=len(own),
        cached=cached,
    )


def check(proposal: Proposal, most: int) -> Iterator[Recomputed]:
    """Run stored calls of the older version by the code as it is now, and compare.

    Parameters
    ----------
    proposal : Proposal
        What is to be accepted.
    most : int
        How many calls are run at most; see `recompute`.

    Returns
    -------
    iterator of Recomputed
        What became of each call, when it has been run.
    """
    keys = [info.key for info in proposal.entries]
    store = proposal.cached.store_backend
    return recompute(store, keys, most, by_new_code=True)


def accept(proposal: Proposal, *, checked: int = 0) -> Acceptance:
    """Have the code count as the older version, from the next process on.

    Parameters
    ----------
    proposal : Proposal
        What `propose` has found.
    checked : int, default 0
        How many results were computed again and are equal, to be recorded.

    Returns
    -------
    Acceptance
        What was written to the store.

    Raises
    ------
    StoreError, OSError
        If the store cannot be written to.
    """
    acceptance = Acceptance(
        function=proposal.function,
        fingerprint=proposal.fingerprint,
        counts_as=proposal.counts_as,
        at=timestamp(time.time()),
        by=f"{_user()}@{socket.gethostname()}",
        checked=checked,
    )
    memory = proposal.cached.memory
    write_acceptance(proposal.cached.store_backend, acceptance, memory.signing_key)
    memory.accepted.read_again()
    return acceptance


def withdraw(function: object, *, store: Store | None = None) -> list[Acceptance]:
    """Take back all that was accepted for a function; return it.

    Parameters
    ----------
    function, store
        As for `propose`.

    Returns
    -------
    list of Acceptance
        What was taken back; empty if nothing was accepted.
    """
    cached = _cached_function(function, store)
    found = [
        one
        for one in read_acceptances(cached.store_backend)
        if one.function == cached.func_id
    ]
    for one in found:
        cached.store_backend.remove_document(one.path)
    cached.memory.accepted.read_again()
    return found


def _cached_function(
    function: object, store: Store | None
) -> MemorizedFunc[..., object]:
    cached, _, is_cached = as_cached(function, store)
    if not is_cached or not isinstance(cached, MemorizedFunc):
        name = function if isinstance(function, str) else repr(function)
        raise ValueError(f"{name} is not a cached function")
    return cached


def _chosen(name: str, versions: dict[str, list[EntryInfo]], digits: str | None) -> str:
    if not versions:
        raise EntryNotFound(f"nothing is stored of an older version of {name}()")
    if digits is None:
        return max(versions, key=lambda one: _last_use(versions[one]))
    found = [one for one in versions if one.startswith(digits)]
    if len(found) != 1:
        shown = ", ".join(one[:12] for one in found or versions)
        which = "several versions begin" if found else "no older version begins"
        raise EntryNotFound(f"{which} with {digits}: there are {shown}")
    return found[0]


def _last_use(infos: Iterable[EntryInfo]) -> float:
    return max(info.last_used for info in infos)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without names
        return "?"
