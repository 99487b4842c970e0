"""What commands print in the documentation is what they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.transcripts import comparable, environment, output_of

DOCS = Path(__file__).parents[1] / "docs"


def files(page: Path) -> dict[str, str]:
    """Return the files that a page shows: blocks that begin with ``# name``."""
    blocks = re.findall(
        r"```(?:python|toml)\n(# ([\w.]+)\n.*?)```", page.read_text("utf-8"), re.DOTALL
    )
    return {name: content for content, name in blocks}


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if files(page)]


def transcript(page: Path) -> list[tuple[str, str]]:
    """Return the commands of a page, and what they print."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    parts = re.split(r"^\$ (.*)\n", "".join(blocks), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_transcript_is_what_the_commands_print(page: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    for name, content in files(page).items():
        (study / name).write_text(content, "utf-8")
    variables = environment(tmp_path)

    printed, shown = [], []
    for command, output in transcript(page):
        printed.append(f"$ {command}\n{output_of(command, study, variables)}")
        shown.append(f"$ {command}\n{comparable(command, output)}")

    assert len(shown) > 8
    assert "\n".join(printed) == "\n".join(shown)
