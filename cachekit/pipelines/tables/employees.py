"""A simulated table of employees: what decides their pay is known, and then soiled.

The columns are those of a town's pay roll. Salaries follow from role, rank, education,
time in office and hours a week; badge and way to work have nothing to do with them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

_T = TypeVar("_T")

TARGET = "salary_usd"
HEADER = (
    "department",
    "job_title",
    "education",
    "hired",
    "weekly_hours",
    "birth_year",
    "commute",
    "badge",
    TARGET,
)

# Department -> its roles, and a year's pay at the start, in dollars; invented.
_ROLES = {
    "Police": {"officer": 62e3, "dispatcher": 48e3, "crime analyst": 66e3},
    "Fire and Rescue": {"firefighter": 60e3, "paramedic": 56e3, "inspector": 70e3},
    "Transportation": {"bus operator": 45e3, "mechanic": 50e3, "engineer": 84e3},
    "Health Services": {"nurse": 65e3, "physician": 130e3, "social worker": 52e3},
    "Public Libraries": {"librarian": 55e3, "library assistant": 36e3},
    "Information Technology": {"developer": 90e3, "help desk technician": 50e3},
    "Parks and Recreation": {"gardener": 38e3, "ranger": 44e3, "lifeguard": 32e3},
    "Finance": {"accountant": 64e3, "auditor": 74e3, "payroll clerk": 43e3},
}
# Rank -> how it is written, and what it adds to the logarithm of the pay.
_RANKS = {
    "junior": (("Junior ", "Jr. "), -0.2),
    "": (("",), 0.0),
    "senior": (("Senior ", "Sr. "), 0.2),
    "chief": (("Chief ", "Head "), 0.45),
}
_EDUCATION = {"school": 0.0, "BSc": 0.06, "MSc": 0.14, "PhD": 0.22}
_A_YEAR_IN_OFFICE = 0.02  # added to the logarithm
_DATES = ("%Y-%m-%d", "%d.%m.%Y", "%B %d, %Y")
_CASES: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper)
_HOURS = (40.0, 37.5, 30.0, 20.0)
_TODAY = date(2026, 1, 1)  # of the table, not of the run: equal seeds, equal tables


@dataclass(frozen=True)
class Employees:
    """A simulated table.

    Attributes
    ----------
    content : bytes
        A CSV file.
    salaries, expected : ndarray of float64, shape (n_rows,)
        In dollars a year: as in the table, and as who knows all would expect.
    """

    content: bytes
    salaries: NDArray[np.float64]
    expected: NDArray[np.float64]


def simulate_employees(
    *, n_rows: int, typo_share: float, missing_share: float, noise: float, seed: int
) -> Employees:
    """Simulate employees and their salaries, and write them down carelessly.

    Parameters
    ----------
    n_rows : int
        How many.
    typo_share : float
        Share of departments and titles with a wrong letter, 0 to 1.
    missing_share : float
        Share of empty cells, 0 to 1; department, title and badge are always there.
    noise : float
        Standard deviation of the logarithm of a salary.
    seed : int
        Start of the random numbers.

    Returns
    -------
    Employees
    """
    import numpy as np

    random = np.random.default_rng(seed)
    people = [_draw_person(random) for _ in range(n_rows)]
    logarithms = np.array([_log_salary(person) for person in people], np.float64)
    salaries = np.exp(logarithms + noise * random.standard_normal(n_rows)).round()
    expected = np.exp(logarithms + noise**2 / 2)  # the mean of a log-normal

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for person, salary in zip(people, salaries, strict=True):
        cells = _write_down(person, random, typo_share, missing_share)
        writer.writerow([*cells, f"${salary:,.0f}"])
    return Employees(text.getvalue().encode(), salaries, expected)


@dataclass(frozen=True)
class _Person:
    department: str
    role: str
    rank: str
    education: str
    hired: date
    hours: float


def _draw_person(random: Generator) -> _Person:
    department = _one_of(random, list(_ROLES))
    return _Person(
        department=department,
        role=_one_of(random, list(_ROLES[department])),
        rank=_one_of(random, list(_RANKS)),
        education=_one_of(random, list(_EDUCATION)),
        hired=_TODAY - timedelta(days=int(random.integers(30 * 365))),
        hours=_one_of(random, _HOURS),
    )


def _log_salary(person: _Person) -> float:
    years = (_TODAY - person.hired).days / 365.25
    return (
        math.log(_ROLES[person.department][person.role] * person.hours / 40)
        + _RANKS[person.rank][1]
        + _EDUCATION[person.education]
        + _A_YEAR_IN_OFFICE * years
    )


def _write_down(
    person: _Person, random: Generator, typo_share: float, missing_share: float
) -> list[str]:
    """Return the cells of a row, all but the salary."""
    title = _one_of(random, _RANKS[person.rank][0]) + person.role
    texts = [_one_of(random, _CASES)(text) for text in (person.department, title)]
    texts = [_misspelt(t, random) if random.random() < typo_share else t for t in texts]
    may_be_missing = [
        person.education,
        person.hired.strftime(_one_of(random, _DATES)),
        f"{person.hours:g}{_one_of(random, ('', ' h', ' hours'))}",
        str(int(random.integers(1955, 2004))),
        f"{random.gamma(2, 6):.1f}{_one_of(random, ('', ' km'))}",
    ]
    gaps = random.random(len(may_be_missing)) < missing_share
    filled = ["" if g else c for c, g in zip(may_be_missing, gaps, strict=True)]
    return [*texts, *filled, f"K-{random.integers(100_000):05d}"]


def _misspelt(text: str, random: Generator) -> str:
    """Drop, double or swap a letter: ``"nurse" -> "nrse", "nuurse", "nusre"``."""
    i = int(random.integers(len(text) - 1))
    wrong = ("", text[i] * 2 + text[i + 1], text[i + 1] + text[i])
    return text[:i] + (_one_of(random, wrong) or text[i + 1]) + text[i + 2 :]


def _one_of(random: Generator, choices: Sequence[_T]) -> _T:
    return choices[int(random.integers(len(choices)))]
