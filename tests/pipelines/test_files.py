"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachekit.pipelines.files import write_file, write_table


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "topics.png"
    write_file(path, b"old")

    def interrupt(partial: Path, target: Path) -> None:
        assert partial.read_bytes() == b"new"
        assert target.read_bytes() == b"old"
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_is_csv_with_texts_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"

    write_table(path, ["name", "weight"], [('sil"ver, [b]', 1 / 3), ("gold", 2)])

    assert path.read_text() == 'name,weight\n"sil""ver, [b]",0.333333\ngold,2\n'
