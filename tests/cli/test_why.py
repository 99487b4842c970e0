"""`cachekit why`, after real edits of a real project, each command a process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cachekit.cli import main
from tests.hashing.test_edits import (
    KEEP,
    RECOMPUTE,
    edit_project,
    write_project,
)
from tests.memoization.project import Project

SCRIPT = """
from cachekit import Memory

import analysis

print("imported")
memory = Memory("store")
f = memory.cache(analysis.f)

if __name__ == "__main__":
    f(1)
"""

# Of each edit that recomputes: the unit that `why` names. The line that was changed is
# the one that the edited file has and the original has not.
NAMED = {
    "the body": "analysis.f",
    "a default": "analysis.f",
    "a keyword-only default": "analysis.f",
    "a helper's body": "analysis.near",
    "a helper's helper": "analysis.deeper",
    "a helper's default": "analysis.near",
    "a helper's keyword-only default": "analysis.near",
    "a helper as module.name": "helpers.reached",
    "a helper as package.module.name": "package.tools.used",
    "a helper of a module under another name": "package.tools.second",
    "a helper two modules away": "helpers2.far",
    "a global two modules away": "helpers2.far",
    "a global number": "analysis.f",
    "a global string": "analysis.f",
    "a global dict": "analysis.f",
    "a global list": "analysis.f",
    "a global array": "helpers.clean",
    "an imported dict": "analysis.f",
    "a method": "analysis.Tool.work",
    "a method that a method calls": "analysis.Tool.helper",
    "a static method": "analysis.Tool.still",
    "a property": "analysis.Tool.proper",
    "a class attribute": "analysis.Tool",
    "a base class's method": "analysis.Base.inherited",
    "a base class's attribute": "analysis.Base",
    "the base class": "analysis.Tool",
    "the call of an instance": "analysis.Tool.__call__",
    "the state of an instance": "analysis.f",
    "a method of an imported class": "helpers.Model.fit",
    "a function imported in the body": "late.imported",
    "a function by getattr": "helpers.by_name",
    "a function in a dispatch table": "analysis.f",
    "a lambda in a dispatch table": "analysis.<lambda>",
    "the first of two lambdas on a line": "analysis.<lambda>",
    "the second of two lambdas on a line": "analysis.<lambda>",
    "the arguments of a decorator": "analysis.decorated",
    "the implementation of a decorator": "analysis.decorated",
    "what a decorator wraps": "analysis.decorated",
    "the arguments of a partial": "analysis.f",
    "the function of a partial": "analysis.f",
    "what an lru_cache wraps": "analysis.remembered",
    "what a singledispatch registers": "analysis._",
    "the default of a singledispatch": "analysis.shown",
    "the other half of a mutual recursion": "analysis.odd",
    "a nested function": "analysis.f",
    "a value in a closure": "analysis.make.<locals>.stepped",
    "the body of a closure": "analysis.make.<locals>.stepped",
    "a function removed": "analysis.deeper",
}


def why(
    folder: Path, *arguments: str, stderr: str | None = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a project's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "cachekit", "why", *arguments],
        cwd=folder,
        env=Project(folder).environment(**environment),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    if stderr is not None:
        assert done.stderr == stderr
    return done


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project of which the script was run once."""
    folder = write_project(tmp_path_factory.mktemp("ran"))
    (folder / "run.py").write_text(SCRIPT)
    Project(folder).run("run.py")
    return folder


@pytest.fixture
def folder(ran: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to be edited."""
    return Path(shutil.copytree(ran, tmp_path / "project"))


def test_each_edit_that_recomputes_has_its_line_in_the_table() -> None:
    assert NAMED.keys() == RECOMPUTE.keys()


@pytest.mark.parametrize("name", RECOMPUTE)
def test_the_unit_that_was_edited_is_named_with_the_line_that_changed(
    folder: Path, name: str
) -> None:
    edit = RECOMPUTE[name]
    before = (folder / edit.file).read_text().splitlines()
    now = (edit_project(folder, edit) / edit.file).read_text().splitlines()

    done = why(folder, "run.py:f", stderr="imported\n")

    assert done.returncode == 1
    assert "would be computed: its code changed" in done.stdout
    words = done.stdout.replace("(", " ").split()
    assert NAMED[name] in words
    changed = [line.strip() for line in now if line not in before]
    if name == "a function removed":  # what is there now has no part in the call
        changed = ["(removed, 2 lines)"]
    assert len(changed) == 1
    assert changed[0] in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", ["a comment", "lines shifted", "an annotation"])
def test_after_an_edit_that_recomputes_nothing_it_would_be_a_hit(
    folder: Path, name: str
) -> None:
    edit_project(folder, KEEP[name])

    done = why(folder, "run:f", stderr="imported\n")

    assert done.returncode == 0
    assert done.stdout.startswith("analysis.f(...) would be a hit: computed 20")


# --- scripts and modules ---

FIT = """\
from cachekit import Memory

memory = Memory("store")
RATE = 2


def helper(x):
    return x + RATE


@memory.cache
def fit(x, name="a", *, order=1):
    return helper(x) * order


class Model:
    @memory.cache
    def fit(self, x):
        return x


if __name__ == "__main__":
    import sys
    print("running", fit(3), fit(4, order=2))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("analysis.py", FIT)
    return project


@pytest.mark.parametrize("how", [["analysis.py"], ["-m", "analysis"]])
@pytest.mark.parametrize("name", ["analysis.py:fit", "analysis:fit", "analysis.fit"])
def test_what_a_script_has_stored_is_found_by_every_name(
    project: Project, how: list[str], name: str
) -> None:
    project.run(*how)

    done = why(project.folder, name, "4", "order=2")

    assert (done.returncode, done.stdout[:32]) == (
        0,
        "analysis.fit(...) would be a hit",
    )


def test_a_script_in_another_folder_is_imported_from_there(project: Project) -> None:
    project.write("scripts/beside.py", "OFFSET = 1\n")
    project.write("scripts/job.py", "import beside\n" + FIT)
    project.run("scripts/job.py")

    assert why(project.folder, "scripts/job.py:fit", "3").returncode == 0


def test_a_module_of_a_package_goes_by_its_file_too(project: Project) -> None:
    project.write("package/__init__.py", "")
    project.write("package/steps.py", FIT)
    project.run("-c", "from package.steps import fit; fit(3)")

    for name in ("package.steps.fit", "package/steps.py:fit"):
        assert why(project.folder, name, "3").returncode == 0


def test_a_script_that_calls_at_once_computes_nothing_when_it_is_asked_about(
    project: Project,
) -> None:
    project.write("job.py", FIT.replace('if __name__ == "__main__":', "if True:"))

    done = why(project.folder, "job.py:fit", "3", stderr=None)

    assert done.returncode == 1
    assert "nothing is stored of it yet" in done.stdout
    assert not list(project.folder.glob("store/*/*/??/*/value"))


def test_arguments_are_compared_with_the_nearest_call(project: Project) -> None:
    project.run("analysis.py")

    done = why(project.folder, "analysis.fit", "3", "'b'")

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "  name: 'a' -> 'b'"


def test_negative_numbers_are_arguments(project: Project) -> None:
    project.run("analysis.py")

    assert "x: 3 -> -1" in why(project.folder, "analysis.fit", "-1").stdout


def test_a_method_is_asked_about_by_its_class(project: Project) -> None:
    done = why(project.folder, "analysis:Model.fit")

    assert done.returncode == 1
    assert "analysis.Model.fit(...) would be computed: nothing" in done.stdout


def test_after_a_run_it_is_said_why_it_computed(project: Project) -> None:
    project.run("analysis.py")
    project.write("analysis.py", FIT.replace("x + RATE", "x - RATE"))
    project.run("analysis.py")

    done = why(project.folder, "analysis.fit")

    hit, last = done.stdout.split("The last time:")
    assert (done.returncode, "would be a hit" in hit) == (0, True)
    assert "was computed: its code changed" in last
    assert "    +     return x - RATE" in last


def test_an_entry_is_explained_by_what_was_stored_before(project: Project) -> None:
    project.run("analysis.py")
    project.write("analysis.py", FIT.replace("x + RATE", "x - RATE"))
    project.run("analysis.py")
    entry = max(project.store.glob("*/*/??/*"), key=lambda path: path.stat().st_ctime)
    named = entry.parent.name + entry.name

    for name in (named[:12], str(entry)):
        done = why(project.folder, name, "--store", "store")

        assert done.returncode == 0
        assert "analysis.fit(...) was computed: its code changed" in done.stdout
        assert "    +     return x - RATE" in done.stdout


def test_only_on_a_terminal_the_lines_of_a_diff_have_a_colour(
    project: Project,
) -> None:
    project.run("analysis.py")
    project.write("analysis.py", FIT.replace("x + RATE", "x - RATE"))
    project.run("-c", "import analysis; analysis.fit(3)")
    entry = max(project.store.glob("*/*/??/*"), key=lambda path: path.stat().st_ctime)
    asked = ["why", str(entry), "--store", str(project.store)]

    piped = CliRunner().invoke(main, asked).stdout
    shown = CliRunner().invoke(main, asked, color=True).stdout

    assert "\x1b" not in piped
    assert [line[:5] for line in shown.splitlines() if "\x1b" in line] == [
        "\x1b[31m",
        "\x1b[32m",
    ]


def test_a_parameter_that_was_added_is_told_without_arguments(
    project: Project,
) -> None:
    project.run("analysis.py")
    project.write("analysis.py", FIT.replace("order=1", "order=1, power=5"))

    assert "power: new, 5" in why(project.folder, "analysis.fit").stdout


def test_a_function_that_is_not_cached_is_taken_as_cached_in_the_store(
    project: Project,
) -> None:
    project.run("-c", "import analysis; analysis.memory.cache(analysis.helper)(3)")

    done = why(project.folder, "analysis.helper", "3", "--store", "store")

    assert (done.returncode, "would be a hit" in done.stdout) == (0, True)
    assert "not cached where it is defined" in done.stdout


def test_another_store_may_be_named(project: Project) -> None:
    project.run("analysis.py")
    project.store.rename(project.folder / "moved")

    assert why(project.folder, "analysis.fit", "3").returncode == 1
    assert why(project.folder, "analysis.fit", "3", "--store", "moved").returncode == 0


def test_json_is_one_document(project: Project) -> None:
    project.run("analysis.py")
    project.write("analysis.py", "print('noise')\n" + FIT.replace("= 2\n", "= 5\n"))

    done = why(project.folder, "analysis.fit", "--json", stderr="noise\n")

    facts = json.loads(done.stdout)
    assert (done.returncode, facts["is_hit"], facts["reason"]) == (1, False, "code")
    (unit,) = facts["units"]
    assert (unit["name"], unit["values"]) == ("analysis.helper", ["RATE"])
    assert unit["statements"] == ["analysis.py:5: RATE = 5"]
    assert facts["nearest"]["function"] == "analysis.fit"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["analysis.fit", "data.csv"], "data.csv is no Python literal"),
        (["analysis.fit", "x=1", "2"], "2 has no name"),
        (["analysis.fit", "1", "x=1"], "multiple values for argument 'x'"),
        (["analysis.fit", "1", "--nosuch"], "--nosuch is no Python literal"),
        (["analysis.nosuch"], "analysis has no function 'nosuch'"),
        (["analysis.py:ft"], "no function 'ft': did you mean fit?"),
        (["analysis.py"], "name a function in analysis.py, as analysis.py:fit"),
        (["analysis.RATE", "--store", "store"], "is no function, but of type int"),
        (["nosuch.fit"], "there is no module nosuch"),
        (["nosuch.py:fit"], "there is no file"),
        (["broken.fit"], "importing broken failed: ZeroDivisionError"),
        (["fit"], "a function is named with its module, as in module.fit"),
        (["abcdef", "3"], "names no function, so it takes no arguments"),
        (["analysis:make.<locals>.fit"], "made inside of a function"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(
    project: Project, arguments: list[str], told: str
) -> None:
    project.write("broken.py", "1 / 0\n")
    project.run("analysis.py")

    done = why(project.folder, *arguments, stderr=None)

    assert (done.returncode, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_an_entry_that_is_not_there_is_exit_code_1(project: Project) -> None:
    project.run("analysis.py")

    done = why(project.folder, "abcdef", "--store", "store", stderr=None)

    assert (done.returncode, done.stdout) == (1, "")
    assert "no entry" in done.stderr
