"""The runs of a store: list them, find one, write and remove them."""

from __future__ import annotations

import warnings
from dataclasses import replace

from cachekit.errors import CacheWarning, EntryNotFound, StoreError
from cachekit.experiments.record import RunRecord
from cachekit.inspection.records import read_many
from cachekit.stores import Store, processes
from cachekit.stores.names import RUNS


def runs(store: Store) -> list[RunRecord]:
    """Return the runs of a store, the newest first.

    Parameters
    ----------
    store : Store
        Where they are.

    Returns
    -------
    list of RunRecord
        What is damaged is left out, with a `CacheWarning`.
    """
    found = read_many(store, _paths(store), _read)
    return [one for one in found if one is not None]


def find_run(store: Store, id: str) -> RunRecord:  # noqa: A002  (it is called so)
    """Find the run that a person means.

    Parameters
    ----------
    store : Store
        Where it is.
    id : str
        Its id, the first digits of it, the part behind the last hyphen, or ``"last"``.

    Returns
    -------
    RunRecord
        The only one that is so named.

    Raises
    ------
    EntryNotFound
        If no run is so named, or several are, or its document is damaged.
    """
    paths = _paths(store)
    if id == "last":
        readable = (_read(store, path) for path in paths)
        found = next((one for one in readable if one is not None), None)
        if found is None:
            raise EntryNotFound(f"{store.location} has no runs")
        return found
    named = {_id_of(path): path for path in paths}
    meant = [
        name for name in named if name.startswith(id) or name.endswith(f"-{id}")
    ] * bool(id)
    if not meant:
        raise EntryNotFound(
            f"{store.location} has no run {id!r}; cachekit runs lists them"
        )
    if len(meant) > 1 and id not in meant:
        some = ", ".join(meant[:4])
        raise EntryNotFound(f"{id!r} names {len(meant)} runs: {some}; give more")
    chosen = id if id in meant else meant[0]
    record = _read(store, named[chosen])
    if record is None:
        raise EntryNotFound(f"the document of run {chosen} is damaged")
    return record


def write_run(store: Store, record: RunRecord) -> None:
    """Keep the record of a run, in the place of an earlier one of the same run."""
    store.write_document(_path_of(record.id), record.to_json())


def remove_run(store: Store, id: str) -> None:  # noqa: A002
    """Remove the record of a run; the results that it has made stay.

    Parameters
    ----------
    store : Store
        Where it is.
    id : str
        All of its id; silent if there is no such run.
    """
    store.remove_document(_path_of(id))


def _paths(store: Store) -> list[str]:
    """Return the places of documents, the newest first."""
    return sorted(
        (path for path in store.documents(RUNS) if path.endswith(".json")), reverse=True
    )


def _path_of(name: str) -> str:
    return f"{RUNS}/{name}.json"


def _id_of(path: str) -> str:
    return path.removeprefix(f"{RUNS}/").removesuffix(".json")


def _read(store: Store, path: str) -> RunRecord | None:
    """Read a document; warn of one that is damaged, or of a later format."""
    try:
        content = store.read_document(path)
        if content is None:  # removed meanwhile
            return None
        record = RunRecord.from_json(content)
        if record.id != _id_of(path):
            raise ValueError(f"it is the record of {record.id[:80]!r}")
    except (OSError, ValueError, StoreError) as error:
        warnings.warn(
            CacheWarning(f"{path} in {store.location} is passed over: {error}"),
            stacklevel=2,
        )
        return None
    if record.status == "running" and processes.is_named_one_gone(record.process):
        return replace(record, status="killed")
    return record
