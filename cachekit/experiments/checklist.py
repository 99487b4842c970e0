"""The reproducibility checklist of machine learning, filled in from a run.

Its points are those of Pineau et al. (2021), "Improving reproducibility in machine
learning research", Journal of Machine Learning Research 22(164), 1-20, in other words
and without the part on theory, of which a run knows nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cachekit.amounts import counted, format_duration, format_size
from cachekit.experiments.again import bundled
from cachekit.experiments.comparing import short_text
from cachekit.experiments.environment import machine_parts
from cachekit.experiments.record import RunRecord

_SOURCE = (
    "Points after Pineau et al. (2021), *Improving reproducibility in machine learning "
    "research*, JMLR 22(164), https://jmlr.org/papers/v22/20-303.html. A box is ticked "
    "where the record of the run answers it."
)


@dataclass(frozen=True)
class Point:
    """A point of the checklist.

    Attributes
    ----------
    text : str
        What is asked for.
    answer : str
        What the record says of it; empty if nothing.
    missing : str
        What is missing; empty if the record is enough.
    """

    text: str
    answer: str = ""
    missing: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether the record is enough."""
        return bool(self.answer) and not self.missing


def checklist(run: RunRecord, others: Sequence[RunRecord] = ()) -> str:
    """Fill in the checklist, as Markdown.

    Parameters
    ----------
    run : RunRecord
        The run that a paper tells of.
    others : sequence of RunRecord, optional
        All runs that there are: those of the same name are counted.

    Returns
    -------
    str
        A heading, the four parts with their points, and the source.
    """
    return "\n".join(_lines(run, [one for one in others if one.name == run.name]))


def _lines(run: RunRecord, same: list[RunRecord]) -> Iterator[str]:
    yield f"# Reproducibility of {run.name}, run {run.id}\n"
    parts = {
        "Models and algorithms": list(_models(run)),
        "Data sets": list(_data(run)),
        "Code": list(_code(run)),
        "Experiments": list(_experiments(run, same or [run])),
    }
    points = [point for part in parts.values() for point in part]
    answered = sum(point.is_answered for point in points)
    yield f"{answered} of {len(points)} points are answered by the record.\n"
    for title, part in parts.items():
        yield f"## {title}\n"
        for point in part:
            yield f"- [{'x' if point.is_answered else ' '}] {point.text}"
            if point.answer:
                yield f"  - {point.answer}"
            if point.missing:
                yield f"  - Missing: {point.missing}"
        yield ""
    yield f"{_SOURCE}\n"


def _models(run: RunRecord) -> Iterator[Point]:
    functions = list(dict.fromkeys(call.function for call in run.calls))
    yield Point(
        "The setting, the algorithm and the model are described.",
        f"Steps that were cached: {_listed(map(_code_text, functions))}."
        if functions
        else "",
        "a description in words or formulas",
    )
    yield Point("Assumptions are stated.", "", "a sentence on each")
    cost = []
    if run.seconds:
        cost.append(f"{format_duration(run.seconds)} in all, of this run")
    cost += [
        f"{_code_text(name)} {short_text(value)}"
        for name, value in run.metrics.items()
        if "memory" in name
    ]
    yield Point(
        "What it costs is analysed: time, space, sample size.",
        f"Measured: {'; '.join(cost)}." if cost else "",
        "how that grows with the size of the data",
    )


def _data(run: RunRecord) -> Iterator[Point]:
    missing = "`run.log_dataset(name, source=..., split=..., rows=...)` in the run"
    sets = run.datasets
    yield _for_each(
        "Statistics of the data, such as the number of examples.",
        {name: _named(facts.get("statistics")) for name, facts in sets.items()},
        "statistics",
        missing,
    )
    yield _for_each(
        "How the data was split into training, validation and test.",
        {name: str(facts.get("split") or "") for name, facts in sets.items()},
        "the split",
        missing,
    )
    yield Point(
        "What was left out of the data, and every step of preprocessing.",
        "The steps are those of the graph: `cachekit graph --run " + f"{run.id}`."
        if run.calls
        else "",
        "what was left out, and why",
    )
    yield _for_each(
        "Where the data can be had.",
        {name: str(facts.get("source") or "") for name, facts in sets.items()},
        "the source",
        missing,
    )
    yield Point(
        "Of new data: how it was collected, with instructions and quality control.",
        "",
        "a description, or the remark that no data is new",
    )


def _for_each(text: str, answers: dict[str, str], what: str, missing: str) -> Point:
    """Make a point that each data set has to answer."""
    if not answers:
        return Point(text, "", missing)
    known = [
        f"{_code_text(name)}: {answer}" for name, answer in answers.items() if answer
    ]
    unknown = [_code_text(name) for name, answer in answers.items() if not answer]
    return Point(
        text, "; ".join(known), f"{what} of {', '.join(unknown)}" if unknown else ""
    )


def _code(run: RunRecord) -> Iterator[Point]:
    packages = [f"{name} {version}" for name, version in run.packages.items()]
    yield Point(
        "The dependencies are specified.",
        f"Python {run.python}, {', '.join(packages)}." if run.python else "",
        "" if packages or run.status == "finished" else "the run did not reach its end",
    )
    yield _repository(run)
    yield Point(
        "The code that evaluates.",
        f"It is part of the same run, which measures {_listed(run.metrics)}."
        if run.metrics
        else "",
        "" if run.metrics else "`run.log_metric(name, value)` in the run",
    )
    files = [
        f"{_code_text(str(one['path']))} ({format_size(one['bytes'])})"
        for one in run.artifacts
        if isinstance(one.get("bytes"), int)
    ]
    yield Point(
        "Trained models can be had.",
        f"Written by the run: {', '.join(files)}." if files else "",
        "a place where others find them",
    )
    words = [str(word) for word in run.command.get("original") or ()][1:]
    command = f"`python {shlex.join(words)}`, in `{run.command.get('folder')}`"
    results = ", ".join(f"{n} = {short_text(v)}" for n, v in run.metrics.items())
    yield Point(
        "A README with the results and the exact command that produces them.",
        f"{command}{f', gives {results}' if results else ''}." if words else "",
        "the README; the line above may go there"
        if words
        else "the command: it was run in a notebook or interpreter",
    )


def _repository(run: RunRecord) -> Point:
    text = "The code that trains."
    git = run.git
    if bundled([str(word) for word in run.command.get("original") or ()][1:]):
        return Point(text, f"A pipeline of cachekit {run.cachekit}.")
    if git is None:
        return Point(text, "", "a repository: the script was in none")
    answer = f"Commit `{git.get('commit')}`."
    if git.get("is_cut"):
        return Point(text, answer, "the changes to it, which were too large to record")
    if git.get("diff"):
        return Point(
            text, f"{answer} The changes to it are recorded with the run.", "a commit"
        )
    return Point(text, answer)


def _experiments(run: RunRecord, same: list[RunRecord]) -> Iterator[Point]:
    ranges = {
        name: {repr(one.parameters.get(name)): None for one in same}
        for name in run.parameters
    }
    tried = [
        f"{_code_text(name)} in {', '.join(values)}"
        for name, values in ranges.items()
        if 1 < len(values) <= 20
    ]
    answer = f"Used: {_named(run.parameters)}." if run.parameters else ""
    if tried:
        answer += f" Tried in {counted(len(same), 'run')}: {'; '.join(tried)}."
    yield Point(
        "Every hyper-parameter, the ranges that were tried, and how the best was "
        "chosen.",
        answer,
        "how the best was chosen" if run.parameters else "`run(name, parameters)`",
    )
    finished = sum(one.status == "finished" for one in same)
    yield Point(
        "The exact number of runs that trained and evaluated.",
        f"{counted(len(same), 'run')} of this name "
        f"{'is' if len(same) == 1 else 'are'} recorded, of which {finished} finished.",
    )
    yield Point(
        "What each number that is reported measures.",
        f"Reported: {_listed(run.metrics)}." if run.metrics else "",
        "a definition of each",
    )
    yield _spread(run, same)
    yield _time(run, [one.seconds for one in same if one.status == "finished"])
    yield _machine(run)


def _time(run: RunRecord, seconds: list[float]) -> Point:
    text = "The average time of each result, or the energy it took."
    if not seconds:
        return Point(text, "", "a run that finished")
    mean = format_duration(sum(seconds) / len(seconds))
    saved = format_duration(run.cache.get("seconds_saved", 0.0))
    return Point(
        text,
        f"{mean} on average, of {counted(len(seconds), 'run')}. The cache has saved "
        f"this one {saved}.",
    )


def _spread(run: RunRecord, same: list[RunRecord]) -> Point:
    """Answer how much results vary, from runs that differ in their seeds alone."""
    text = "Central values with their variation, such as error bars."
    alike = [
        one
        for one in same
        if one.status == "finished" and _unseeded(one) == _unseeded(run)
    ]
    spread = []
    for name in run.metrics:
        values = [one.metrics[name] for one in alike if name in one.metrics]
        if len({str(one.seeds) for one in alike}) > 1 and len(values) > 1:
            mean = sum(values) / len(values)
            variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
            spread.append(f"{name} = {mean:.4g} ± {variance**0.5:.2g}")
    if spread:
        what = "mean and standard deviation over runs that differ in their seeds"
        return Point(text, f"{'; '.join(spread)} ({what}, {len(alike)} runs).")
    return Point(
        text, "", "runs with other seeds, or a metric that tells the deviation"
    )


def _unseeded(run: RunRecord) -> dict[str, Any]:
    return {
        name: value
        for name, value in run.parameters.items()
        if "seed" not in name.lower()
    }


def _machine(run: RunRecord) -> Point:
    text = "; ".join(machine_parts(run.hardware))
    missing = "" if text else "the run did not reach its end"
    return Point("The machine.", f"{text}." if text else "", missing)


def _named(values: object) -> str:
    if not isinstance(values, dict):
        return ""
    return ", ".join(f"{name} = {short_text(value)}" for name, value in values.items())


def _listed(names: Any) -> str:
    return ", ".join(names)


def _code_text(name: str) -> str:
    return f"`{name}`"
