"""Code that counts as an older version of itself, because its author says so.

An edit that changes no result, such as a faster loop, has another fingerprint, and so
all is computed again. If the new code was accepted, its calls have the keys of the
older version: what that has stored are hits, and new results are stored there. Nothing
is copied, and to take it back costs a recomputation.

Acceptances are small documents in the store. A memory reads them once, when its first
key is made: of a far store it is asked only once there is a connection to it.
"""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from blake3 import blake3

from cachekit.errors import StoreError, warn
from cachekit.stores import EntryKey, Store
from cachekit.stores.names import ACCEPTED, folder_name

_PURPOSE = "cachekit 2026-11 signature of an accepted version"


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Which code counts as which.

    Attributes
    ----------
    function : str
        ``module.qualname``.
    fingerprint : str
        Of the code that is accepted.
    counts_as : str
        Of the version whose keys its calls have.
    at : str
        When it was said, ISO 8601, UTC.
    by : str
        Who said it: ``user@host``.
    checked : int
        How many results had been computed again, and were equal.
    """

    function: str
    fingerprint: str
    counts_as: str
    at: str
    by: str
    checked: int = 0

    @property
    def path(self) -> str:
        """Where it is in a store."""
        return f"{ACCEPTED}/{folder_name(self.function)}.{self.fingerprint}.json"


def write_acceptance(
    store: Store, acceptance: Acceptance, secret: bytes | None
) -> None:
    """Keep an acceptance in a store, signed if there is a secret.

    What it counts as is not accepted as something else any more: the version that is
    named last is the one that counts.

    Raises
    ------
    StoreError, OSError
        If the store cannot be written to.
    """
    facts = asdict(acceptance)
    if secret is not None:
        facts["signature"] = _sign(acceptance, secret)
    text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    reverse = Acceptance(
        **{**asdict(acceptance), "fingerprint": acceptance.counts_as}
    ).path
    store.remove_document(reverse)
    store.write_document(acceptance.path, text.encode())


def read_acceptances(store: Store, secret: bytes | None = None) -> list[Acceptance]:
    """Return what is accepted in a store; what is damaged, or not signed, is not.

    Parameters
    ----------
    store : Store
        Where to look.
    secret : bytes, optional
        What those know who may accept; without it, signatures are not looked at.

    Returns
    -------
    list of Acceptance
        Those that hold.
    """
    found = []
    for path in store.documents(ACCEPTED):
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            facts = json.loads(store.read_document(path) or b"null")
            one = Acceptance(**{name: facts[name] for name in _NAMES})
            _check(one)
            is_signed = secret is None or hmac.compare_digest(
                str(facts.get("signature")), _sign(one, secret)
            )
            if one.path == path and is_signed:
                found.append(one)
    return found


class AcceptedVersions:
    """What is accepted in the store of a memory, by function.

    Parameters
    ----------
    store : Store
        The memory's.
    secret : bytes, optional
        Its signing key.
    """

    def __init__(self, store: Store, secret: bytes | None) -> None:
        self._store = store
        self._secret = secret
        self._found: list[Acceptance] | None = None
        self._is_complete = False
        # What each fingerprint counts as, by function: for most, as itself.
        self._known: dict[str, dict[str, str]] = {}

    def of(self, function: str) -> dict[str, str]:
        """Return what is known of a function, to be filled by `find`."""
        return self._known.setdefault(function, {})

    def find(self, function: str, fingerprint: str) -> str:
        """Return the version that code counts as: an older one, or itself."""
        if self._found is None:
            # To ask a far store takes longer than all of a run that only hits.
            is_at_hand = self._store.is_connected
            self._load(self._store if is_at_hand else self._store.kept_small)
            self._is_complete = is_at_hand
        version = self._resolve(function, fingerprint)
        self.of(function)[fingerprint] = version
        return version

    def look_far(self) -> None:
        """Read what a far store has, which is being asked for a result anyway."""
        if not self._is_complete:
            self._is_complete = True
            before = self._found
            self._load(self._store)
            if self._found != before:
                self.forget()

    def forget(self) -> None:
        """Resolve anew what is asked for next."""
        for known in self._known.values():
            known.clear()

    def read_again(self) -> None:
        """Read the store again at the next call."""
        self._found, self._is_complete = None, False
        self.forget()

    def _load(self, store: Store) -> None:
        try:
            self._found = read_acceptances(store, self._secret)
        except OSError:  # look-ups tell what is wrong with it
            self._found = []
        except StoreError as error:  # a service says so once
            self._found = []
            warn(f"which code was accepted could not be read: {error}")

    def _resolve(self, function: str, fingerprint: str) -> str:
        accepted = resolved_versions(self._found or (), function)
        version = accepted.get(fingerprint, fingerprint)
        if version == fingerprint:
            return version
        try:  # its description goes with its entries
            is_there = (
                self._store.read_code(EntryKey(function, version, "")) is not None
            )
        except (OSError, StoreError):
            return fingerprint
        return version if is_there else fingerprint


def resolved_versions(
    acceptances: Iterable[Acceptance], function: str
) -> dict[str, str]:
    """Return what each accepted fingerprint of a function counts as in the end.

    Parameters
    ----------
    acceptances : iterable of Acceptance
        Of any functions.
    function : str
        ``module.qualname``, or the name of its folder.
    """
    folder = folder_name(function)
    steps = {
        one.fingerprint: one.counts_as
        for one in acceptances
        if folder_name(one.function) == folder
    }
    resolved = {}
    for start in steps:
        seen, version = {start}, steps[start]
        while version in steps and version not in seen:
            seen.add(version)
            version = steps[version]
        resolved[start] = version
    return resolved


def _check(acceptance: Acceptance) -> None:
    """Raise of a document in which something else stands than should."""
    for name, value in asdict(acceptance).items():
        if not isinstance(value, int if name == "checked" else str):
            raise TypeError(f"{name} is {value!r:.80}")
    # They name folders: ".." would lead out of the store.
    if not (acceptance.fingerprint.isalnum() and acceptance.counts_as.isalnum()):
        raise ValueError("a fingerprint is not hexadecimal")


def _sign(acceptance: Acceptance, secret: bytes) -> str:
    key = blake3(secret, derive_key_context=_PURPOSE).digest()
    facts = json.dumps(asdict(acceptance), sort_keys=True)
    return blake3(facts.encode(), key=key).hexdigest()


_NAMES = [one.name for one in fields(Acceptance)]
