"""What ``runs show`` tells of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cachekit.amounts import counted, format_duration, format_size
from cachekit.cli.columns import print_columns
from cachekit.cli.printing import echo
from cachekit.experiments import RunRecord
from cachekit.experiments.environment import machine_parts


def fact_lines(run: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield labels and texts; texts may be empty."""
    yield "run", run.id
    yield "name", run.name
    yield "status", f"{run.status}: {run.error}" if run.error else run.status
    took = f", took {format_duration(run.seconds)}" if run.has_end else ""
    yield "started", f"{run.started[:19].replace('T', ' ')} UTC{took}"
    yield "parameters", named_values(run.parameters)
    yield "seeds", named_values(run.seeds)
    yield from _repeated(
        "metric", [named_values({n: v}) for n, v in run.metrics.items()]
    )
    yield from _repeated("data", [_dataset(*one) for one in run.datasets.items()])
    yield from _repeated("file", [_artifact(one) for one in run.artifacts])
    yield "command", " ".join(map(str, run.command.get("original") or ()))
    yield "folder", str(run.command.get("folder") or "")
    commit = _commit(run.git) if run.git else "none: the program is in no repository"
    yield "commit", commit
    yield "python", run.python
    yield "packages", ", ".join(f"{n} {version}" for n, version in run.packages.items())
    yield "machine", _machine(run)
    yield "cache", _cache(run)


def _repeated(label: str, texts: list[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        yield ("" if number else label), text


def named_values(values: Mapping[str, Any]) -> str:
    """Write values with their names: ``alpha=0.5, seed=3``."""
    texts = (
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )
    return ", ".join(texts)


def _dataset(name: str, facts: Mapping[str, Any]) -> str:
    statistics = facts.get("statistics")
    parts = [
        str(facts.get("source") or ""),
        str(facts.get("split") or ""),
        named_values(statistics) if isinstance(statistics, dict) else "",
    ]
    return f"{name}: {'; '.join(part for part in parts if part)}"


def _artifact(facts: Mapping[str, Any]) -> str:
    size, digest = facts.get("bytes"), facts.get("digest")
    if not isinstance(size, int):
        return f"{facts['path']}, which was not there at the end"
    return f"{facts['path']}  {format_size(size)}, digest {str(digest)[:12]}"


def _commit(git: Mapping[str, Any]) -> str:
    diff = git.get("diff")
    changes = diff.count("diff --git ") if isinstance(diff, str) else 0
    text = f"{str(git.get('commit'))[:12]} of {git.get('root')}"
    if changes:
        text += f", with changes to {counted(changes, 'file')}"
    return f"{text} (recorded in part: they are large)" if git.get("is_cut") else text


def _machine(run: RunRecord) -> str:
    where = f"{run.user}@{run.host}" if run.user else run.host
    return ", ".join([where, *machine_parts(run.hardware)])


def _cache(run: RunRecord) -> str:
    if not run.cache:
        return run.store
    return (
        f"{run.cache.get('hits', 0):,.0f} hits, {run.cache.get('misses', 0):,.0f} "
        f"misses, {format_duration(run.cache.get('seconds_saved', 0.0))} saved, in "
        f"{run.store or 'no store'}"
    )


def print_steps(run: RunRecord) -> None:
    """Print a table of the functions that a run has called."""
    functions: dict[str, list[bool | None]] = {}
    for call in run.calls:
        functions.setdefault(call.function, []).append(call.is_made)
    if not functions:
        return
    echo("")
    rows = []
    for name, made in functions.items():
        computed, read = made.count(True), made.count(False)
        rows.append((name, f"{len(made):,}", f"{computed:,}", f"{read:,}"))
    print_columns(("step", "calls", "computed", "read"), rows, longest=50)
    if run.n_calls > len(run.calls):
        more = counted(run.n_calls - len(run.calls), "more call")
        echo(f"{more}, not listed")
