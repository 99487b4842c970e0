"""A project says where its store is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachekit.errors import StoreError
from cachekit.inspection.locating import configured_location, location_for


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    return tmp_path


def configure(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)


@pytest.mark.parametrize("folder", [".", "src", "src/deep"])
def test_a_location_is_seen_from_the_folder_of_the_file(
    project: Path, folder: str
) -> None:
    configure(project, '[tool.cachekit]\nlocation = "results"\n')

    assert configured_location(project / folder) == str(project / "results")


@pytest.mark.parametrize("location", ["s3://bucket/prefix", "/data/results"])
def test_a_location_that_is_whole_stays(project: Path, location: str) -> None:
    configure(project, f'[tool.cachekit]\nlocation = "{location}"\n')

    assert configured_location(project) == location


def test_the_nearest_file_counts(project: Path) -> None:
    configure(project, '[tool.cachekit]\nlocation = "results"\n')
    configure(project / "src", '[project]\nname = "other"\n')

    assert configured_location(project / "src" / "deep") is None


@pytest.mark.parametrize("text", ["", "[tool]", "[tool.cachekit]", "[tool.other]"])
def test_a_file_need_not_say_it(project: Path, text: str) -> None:
    configure(project, text)

    assert configured_location(project) is None


@pytest.mark.parametrize(
    "text", ["[tool", "[tool.cachekit]\nlocation = 3", '[tool.cachekit]\nlocation=""']
)
def test_what_cannot_be_meant_is_an_error(project: Path, text: str) -> None:
    configure(project, text)

    with pytest.raises(StoreError, match=r"pyproject\.toml"):
        configured_location(project)


def test_the_environment_goes_before_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project, '[tool.cachekit]\nlocation = "results"\n')
    monkeypatch.chdir(project)
    monkeypatch.delenv("CACHEKIT_DIR", raising=False)

    assert location_for() == str(Path.cwd() / "results")
    assert location_for("named") == "named"

    monkeypatch.setenv("CACHEKIT_DIR", "/elsewhere")
    assert location_for() == "/elsewhere"
    assert location_for("named") == "named"
