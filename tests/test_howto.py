"""The how-to pages hold: what they show is printed, and what they say is so.

Their plain Python blocks are run with those of all other pages. Here run those that
make files with a name, and the commands between them, in their order; what a page says
of joblib, on joblib as well; and what needs a cluster or several users.
"""

from __future__ import annotations

import bz2
import collections
import inspect
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import cachekit
from cachekit.memoization import MemorizedFunc
from tests.memoization.project import Project
from tests.transcripts import comparable, environment, output_of

DOCS = Path(__file__).parents[1] / "docs"
HOWTO = DOCS / "howto"

# A file that the reader makes, or a transcript.
STEP = re.compile(
    r"```\{code-block\} python\n:caption: (\S+)\n\n(.*?)```|```console\n(.*?)```",
    re.DOTALL,
)


def steps(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the files and commands of a page, each with its content or output."""
    for name, content, transcript in STEP.findall(page.read_text("utf-8")):
        if name:
            yield name, content
        parts = re.split(r"^\$ (.*)\n", transcript, flags=re.MULTILINE)
        for command, output in zip(parts[1::2], parts[2::2], strict=True):
            yield f"$ {command}", output


TRANSCRIPTS = [DOCS / "functions.md", *sorted(HOWTO.glob("*.md"))]
TRANSCRIPTS = [page for page in TRANSCRIPTS if "```console" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", TRANSCRIPTS, ids=lambda page: page.stem)
def test_commands_print_what_a_page_shows(page: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    variables = {**environment(tmp_path), "CACHEKIT_DIR": str(tmp_path / "default")}

    printed, shown = [], []
    for step, text in steps(page):
        if not step.startswith("$"):
            (study / step).write_text(text)
            continue
        printed.append(f"{step}\n{output_of(step[2:], study, variables)}")
        shown.append(f"{step}\n{comparable(step[2:], text)}")

    assert "\n".join(printed) == "\n".join(shown)


def test_every_page_is_in_the_index() -> None:
    index = (HOWTO / "index.md").read_text("utf-8")
    tree = re.findall(r"^[\w./]+$", index.partition("{toctree}")[2], re.MULTILINE)
    linked = [
        target.removesuffix(".md") for target in re.findall(r"\]\((.*?)\)", index)
    ]

    assert sorted(linked) == sorted(tree)
    assert {page.stem for page in HOWTO.glob("*.md")} - {"index"} <= set(linked)


def script(page: Path, name: str) -> str:
    """Return the file of a page that has the name."""
    return dict(steps(page))[name]


DASK = """
    import dask
    from dask.distributed import Client
    from cachekit import Memory

    @Memory("store").cache
    def simulate(seed):
        return seed * seed

    if __name__ == "__main__":
        with Client(n_workers=2, dashboard_address=None) as client:
            print(client.gather(client.map(simulate, range(3))))
            print(dask.compute(*[dask.delayed(simulate)(seed) for seed in range(4)]))
        print(simulate.cache_info()[:2], simulate.check_call_in_cache(3))
"""


@pytest.mark.slow
def test_dask_calls_a_cached_function_as_any_other(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("study.py", DASK)

    assert project.run("study.py") == ["[0, 1, 4]", "(0, 1, 4, 9)", "(0, 0) True"]


@pytest.mark.slow
def test_a_loop_runs_on_ray(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("sweep.py", script(HOWTO / "cluster.md", "sweep.py"))

    done = subprocess.run(
        [sys.executable, "sweep.py"],
        cwd=tmp_path,
        env=project.environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,  # to start a cluster takes a busy machine a minute
        check=False,
    )

    assert done.stdout.splitlines()[-1:] == ["[0, 1, 4, 9, 16, 0] 5"], done.stderr


# --- docs/from_joblib.md ---

FROM_JOBLIB = (DOCS / "from_joblib.md").read_text("utf-8")


def told() -> dict[str, str]:
    """Return what the page says of each name: same, better, different or absent."""
    rows = re.findall(r"^\| (.*?) \| \*(\w+)\*", FROM_JOBLIB, re.MULTILINE)
    return {
        name: verdict
        for names, verdict in rows
        for name in re.findall("`(.*?)`", names)
    }


def test_every_public_name_of_joblib_is_told_of() -> None:
    assert set(joblib.__all__) <= told().keys()


@pytest.mark.parametrize("name", joblib.__all__)
def test_a_name_of_joblib_is_there_unless_it_is_said_to_be_absent(name: str) -> None:
    assert hasattr(cachekit, name) == (told()[name] != "absent")


@pytest.mark.parametrize("name", joblib.__all__)
def test_parameters_are_in_their_order(name: str) -> None:
    def names(library: Any) -> list[str]:
        signature = inspect.signature(getattr(library, name))
        return [
            one.name
            for one in signature.parameters.values()
            if one.kind is one.POSITIONAL_OR_KEYWORD
        ]

    theirs, ours = names(joblib), names(cachekit)

    assert len(theirs) == len(ours)
    assert theirs == ours


def test_what_is_said_to_be_absent_is_absent() -> None:
    absent = [name for name, verdict in told().items() if verdict == "absent"]
    places: list[Any] = [
        cachekit,
        cachekit.Memory(None),
        MemorizedFunc,
        cachekit.Parallel,
    ]

    assert len(absent) == 6
    for name in absent:
        assert not any(hasattr(place, name.rpartition(".")[2]) for place in places)


def test_methods_that_are_told_of_are_those_of_joblib() -> None:
    told_of = {name for name, verdict in told().items() if verdict != "absent"}
    methods = {
        *(f"memory.{name}" for name in ("cache", "clear", "eval", "reduce_size")),
        *("f.call", "f.call_and_shelve", "f.check_call_in_cache", "f.clear"),
    }

    assert told_of - set(joblib.__all__) == methods
    for name in methods:
        kind = cachekit.Memory if name.startswith("memory") else MemorizedFunc
        assert hasattr(kind, name.partition(".")[2])


def write(name: str, folder: Path) -> Project:
    """Make a project of a file of the page, and its folder."""
    files = dict(steps(DOCS / "from_joblib.md"))
    project = Project(folder)
    project.write(name, files[name])
    return project


def test_results_of_joblib_are_carried_over(tmp_path: Path) -> None:
    project = write("carry_over.py", tmp_path)
    whole = (tmp_path / "carry_over.py").read_text()
    before, loop, _ = whole.partition("for seed in")
    project.write("carry_over.py", f"{before}for seed in range(2):\n    old(seed)\n")
    assert project.run("carry_over.py") == ["computing"] * 2

    project.write("carry_over.py", whole)
    assert project.run("carry_over.py") == []
    checks = "\nprint(*(new.check_call_in_cache(seed) for seed in range(3)))\n"
    project.write("carry_over.py", f"{whole}{checks}")

    assert loop
    assert project.run("carry_over.py") == ["True True False"]


@pytest.mark.parametrize("name", ["both.py", "back.py"])
def test_files_of_the_page_run(name: str, tmp_path: Path) -> None:
    write(name, tmp_path).run(name)


@pytest.mark.slow
def test_a_memory_that_is_both_is_taken_by_nilearn(tmp_path: Path) -> None:
    project = write("both.py", tmp_path)
    project.write(
        "ask.py",
        """
        import joblib
        from both import memory
        from nilearn._utils.cache_mixin import check_memory

        print(isinstance(memory, joblib.Memory), check_memory(memory) is memory)
        print(memory.cache(len)("abc"))
        """,
    )

    assert project.run("ask.py") == ["True True", "3"]


# Of both libraries, a memory that is silent; each test gets one after the other.
def of_joblib(folder: Path) -> Any:
    return joblib.Memory(folder / "joblib", verbose=0)


def of_cachekit(folder: Path) -> Any:
    return cachekit.Memory(folder / "cachekit")


def adder(offset: int) -> Callable[[int], int]:
    def add(x: int) -> int:
        return x + offset

    return add


def test_closures_have_results_of_their_own(tmp_path: Path) -> None:
    def answers(memory: Any) -> list[int]:
        return [memory.cache(adder(offset))(1) for offset in (1, 100)]

    assert answers(of_cachekit(tmp_path)) == [2, 101]
    assert answers(of_joblib(tmp_path)) == [2, 2]


HELPERS = """
    import sys
    import {library}

    FACTOR = {factor}

    def helper(x):
        return x {operator} 1

    @{library}.Memory("store", verbose=0).cache
    def scaled(x):
        return FACTOR * helper(x)

    print(scaled(3))
"""


@pytest.mark.parametrize(
    ("library", "expected"), [("cachekit", ["4", "8", "4"]), ("joblib", ["4"] * 3)]
)
def test_helpers_and_globals_count(
    tmp_path: Path, library: str, expected: list[str]
) -> None:
    project, printed = Project(tmp_path), []

    for factor, operator in ((1, "+"), (2, "+"), (2, "-")):
        source = HELPERS.format(library=library, factor=factor, operator=operator)
        project.write("study.py", source)
        printed += project.run("study.py")

    assert printed == expected


def extended(items: list[int]) -> int:
    items.append(1)
    return len(items)


def test_a_changed_argument_is_not_forgotten(tmp_path: Path) -> None:
    def lengths(memory: Any) -> list[int]:
        function, found = memory.cache(extended), []
        for _ in range(2):
            items: list[int] = []
            function(items)
            found.append(len(items))
        return found

    with pytest.warns(cachekit.CacheWarning, match="changed its argument"):
        assert lengths(of_cachekit(tmp_path)) == [1, 1]
    assert lengths(of_joblib(tmp_path)) == [1, 0]


class Measured(np.ndarray):
    unit = ""


def measured(unit: str) -> Measured:
    array = np.ones(3).view(Measured)
    array.unit = unit
    return array


A, B = [1], [1]

# What are different values, or the same; joblib takes them for the other.
DIFFERENT: list[tuple[Any, Any]] = [
    (collections.OrderedDict({1: 1, "a": 2}), collections.OrderedDict({1: 1, "a": 99})),
    (measured("m"), measured("km")),
    (
        np.ma.array(np.ones(3, "u1"), mask=[False, False, True]),
        np.ma.array(np.ones(3, "u1"), mask=[True, False, True]),
    ),
]
SAME: list[tuple[Any, Any]] = [
    ([A, A], [A, B]),
    (np.arange(10)[::2], np.arange(10)[::2].copy()),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_values_that_differ_have_other_keys(one: Any, other: Any) -> None:
    assert cachekit.hash(one) != cachekit.hash(other)
    assert joblib.hash(one) == joblib.hash(other)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_values_have_one_key(one: Any, other: Any) -> None:
    assert cachekit.hash(one) == cachekit.hash(other)
    assert joblib.hash(one) != joblib.hash(other)


def test_a_frozenset_has_one_key_in_all_processes(tmp_path: Path) -> None:
    texts = "frozenset(['one', 'two', 'three', 'four'])"
    project = Project(tmp_path)

    def keys(library: str) -> set[str]:
        code = f"import {library}; print({library}.hash({texts}))"
        return {
            *project.run("-c", code, PYTHONHASHSEED="1"),
            *project.run("-c", code, PYTHONHASHSEED="2"),
        }

    assert len(keys("cachekit")) == 1
    assert len(keys("joblib")) == 2


def test_functions_without_a_name_have_keys() -> None:
    assert cachekit.hash(lambda: 1) != cachekit.hash(lambda: 2)
    with pytest.raises(Exception, match="pickle"):
        joblib.hash(lambda: 1)


def divided(x: int, /, y: int) -> float:
    return x / y


def test_parameters_may_be_positional_only(tmp_path: Path) -> None:
    assert of_cachekit(tmp_path).cache(divided)(6, 2) == 3
    with pytest.raises(ValueError, match="Too many arguments"):
        of_joblib(tmp_path).cache(divided)(6, 2)


EDITED = """
    import {library}

    @{library}.Memory("store", verbose=0).cache
    def answer():
        print("computing")
        return {value}

    answer()
"""


@pytest.mark.parametrize(("library", "times"), [("cachekit", 2), ("joblib", 3)])
def test_an_edit_removes_no_older_result(
    tmp_path: Path, library: str, times: int
) -> None:
    project, printed = Project(tmp_path), []

    for value in (1, 2, 1):
        project.write("study.py", EDITED.format(library=library, value=value))
        printed += project.run("study.py")

    assert len(printed) == times


class Unwilling:
    def __reduce__(self) -> Any:
        raise pickle.PicklingError("not me")


def unwilling() -> Any:
    return Unwilling()


@pytest.mark.filterwarnings("ignore")
def test_a_result_that_cannot_be_pickled_is_not_stored(tmp_path: Path) -> None:
    def is_stored(memory: Any) -> bool:
        cached = memory.cache(unwilling)
        cached()
        return bool(cached.check_call_in_cache())

    assert not is_stored(of_cachekit(tmp_path))
    assert is_stored(of_joblib(tmp_path))


@pytest.mark.parametrize("library", [cachekit, joblib])
def test_the_old_file_is_there_until_the_new_one_is_whole(
    tmp_path: Path, library: Any
) -> None:
    path = tmp_path / "value"
    library.dump([1], path)

    with pytest.raises(TypeError):
        library.dump([2, sys.stdout], path)

    if library is cachekit:
        assert cachekit.load(path) == [1]
    else:
        with pytest.raises((EOFError, ValueError, IndexError)):
            joblib.load(path)


def test_both_libraries_use_one_folder(tmp_path: Path) -> None:
    theirs = joblib.Memory(str(tmp_path), verbose=0).cache(adder(1))
    theirs(1)
    memory = cachekit.Memory(str(tmp_path))
    ours = memory.cache(adder(1))
    assert not ours.check_call_in_cache(1)
    ours(1)

    memory.clear()

    assert theirs.check_call_in_cache(1)
    assert not ours.check_call_in_cache(1)


@pytest.mark.parametrize(
    "compress", [0, True, 9, "zlib", ("gzip", 3), "bz2", "lzma", "xz", "lz4"]
)
def test_files_of_joblib_are_read(tmp_path: Path, compress: Any) -> None:
    joblib.dump({"a": np.arange(5)}, tmp_path / "file", compress=compress)

    assert cachekit.load(tmp_path / "file")["a"].tolist() == [0, 1, 2, 3, 4]


def test_joblib_does_not_read_ours(tmp_path: Path) -> None:
    cachekit.dump([1], tmp_path / "file")

    with pytest.raises(Exception, match=r"."):
        joblib.load(tmp_path / "file")


def test_what_was_written_for_joblib_is_taken(tmp_path: Path) -> None:
    from joblib._parallel_backends import ThreadingBackend
    from joblib._store_backends import FileSystemStoreBackend

    cachekit.register_store_backend("of joblib", FileSystemStoreBackend)
    cachekit.register_parallel_backend("of joblib", ThreadingBackend)

    cached: Any = cachekit.Memory(str(tmp_path), backend="of joblib").cache(adder(1))
    loop = cachekit.Parallel(2, backend="of joblib")

    assert cached(1) == 2
    assert cached.check_call_in_cache(1)
    assert loop(cachekit.delayed(abs)(-x) for x in range(4)) == [0, 1, 2, 3]


def test_a_compressor_of_joblib_is_taken(tmp_path: Path) -> None:
    from joblib.compressor import CompressorWrapper

    theirs = CompressorWrapper(obj=bz2.BZ2File, prefix=b"BZh", extension=".theirs")
    path = tmp_path / "file.theirs"

    cachekit.register_compressor("theirs", theirs)
    cachekit.dump([1, 2], path)

    assert path.read_bytes().startswith(b"BZh")
    assert cachekit.load(path) == [1, 2]


# --- docs/howto/sklearn.md ---

STEPS = """
    import numpy as np
    from cachekit import Memory
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    class Scaled(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            print("fitting")
            self.fitted_ = True
            return self

        def transform(self, X):
            return {factor} * X

    X = np.arange(12.0).reshape(6, 2)
    steps = make_pipeline(
        Scaled(), PCA(1), LinearRegression(), memory=Memory("store")
    )
    steps.fit(X, X[:, 0])
"""


@pytest.mark.slow
def test_a_pipeline_fits_again_what_was_edited(tmp_path: Path) -> None:
    project, printed = Project(tmp_path), []

    for factor in (2, 2, 3, 2):
        project.write("study.py", STEPS.format(factor=factor))
        printed.append(project.run("study.py"))

    assert printed == [["fitting"], [], ["fitting"], []]


def test_a_text_makes_a_memory_of_joblib(tmp_path: Path) -> None:
    from sklearn.utils.validation import check_memory

    assert type(check_memory(str(tmp_path))) is joblib.Memory


# --- docs/shared.md and docs/trust.md ---

GROUP = 12000

MEMBER = """
    import os
    import sys
    import warnings
    import cachekit

    def warm(place):
        cached = cachekit.Memory(place).cache(len)
        cached("ab")

    warm(sys.argv[4])  # imports what a user may not be allowed to read
    os.setgroups([{group}])
    os.setgid({group})
    os.setuid(int(sys.argv[1]))
    os.umask(int(sys.argv[2], 8))

    @cachekit.Memory("shared").cache
    def double(x):
        print("computing")
        return 2 * x

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        double(int(sys.argv[3]))
    if warned:
        print(str(warned[0].message).partition(":")[0])
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder that every user can get to, if we may be other users."""
    try:
        subprocess.run(["true"], user=12001, group=GROUP, extra_groups=[], check=True)
    except (OSError, AttributeError, ValueError):
        pytest.skip("only root can be several users")
    parents = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/tmp")]
    place = next(path for path in parents if is_open(path))
    with tempfile.TemporaryDirectory(prefix="cachekit-", dir=place) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def is_open(folder: Path) -> bool:
    """Tell whether every user can get to what is in a folder."""
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


@pytest.mark.parametrize(
    ("umask", "expected"),
    [
        ("007", [["computing"], [], ["computing"], []]),
        (
            "022",
            [
                ["computing"],
                [],
                ["computing", "a result of study.double() could not be stored"],
                ["computing"],
            ],
        ),
    ],
)
def test_members_of_a_group_share_a_folder(
    open_folder: Path, umask: str, expected: list[list[str]]
) -> None:
    shared = open_folder / "shared"
    shared.mkdir()
    os.chown(shared, 0, GROUP)
    shared.chmod(0o2770)
    project = Project(open_folder)
    project.write("study.py", MEMBER.format(group=GROUP))

    printed = [
        project.run("study.py", user, umask, x, str(open_folder / user))
        for user, x in (("12001", "1"), ("12002", "1"), ("12002", "2"), ("12001", "2"))
    ]

    assert printed == expected


SECRET = "a secret of the group"


def test_the_digest_of_what_is_redacted_is_in_the_record(tmp_path: Path) -> None:
    memory = cachekit.Memory(tmp_path)
    memory.cache(lambda password: len(password), redact=["password"])("hunter2")

    (entry,) = memory.entries()

    record: Any = entry.record
    assert record.arguments["password"] == {"digest": cachekit.digest("hunter2")}


def test_the_age_of_a_signed_result_is_what_the_record_says(tmp_path: Path) -> None:
    cached: Any = cachekit.Memory(tmp_path, signing_key=SECRET).cache(
        adder(1), expires="1h"
    )
    cached(1)
    (path,) = tmp_path.rglob("record.json")
    text = re.sub(r'"started": "\d+', '"started": "2001', path.read_text())
    path.write_text(text)

    assert not cached.check_call_in_cache(1)


def test_an_older_signed_result_of_the_same_call_is_believed(tmp_path: Path) -> None:
    cached: Any = cachekit.Memory(tmp_path, signing_key=SECRET).cache(adder(1))
    cached.put("old", 1)
    (path,) = tmp_path.rglob("value")
    old = path.read_bytes()
    cached.put("new", 1)
    assert cached(1) == "new"

    path.write_bytes(old)

    assert cached(1) == "old"


def test_the_secret_is_not_in_the_store(tmp_path: Path) -> None:
    memory = cachekit.Memory(tmp_path, signing_key=SECRET)
    memory.cache(adder(1))(1)
    memory.stats()

    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
