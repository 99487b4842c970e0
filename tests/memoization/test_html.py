"""What notebooks show."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from cachekit import Memory


def text_of(html: str) -> str:
    """Return the text of a table, which has to be well-formed."""
    return " ".join(ElementTree.fromstring(html).itertext())


def test_a_memory_shows_what_it_did(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "a <b> & c")
    square = memory.cache(lambda x: x * x)
    square(2)
    square(2)

    shown = text_of(memory._repr_html_())

    assert "a <b> & c" in shown
    assert "hits 1, which saved" in shown
    assert "misses 1, which took" in shown


def test_a_memory_without_a_store_shows_itself() -> None:
    assert "Memory(location=None)" in text_of(Memory(None)._repr_html_())


def test_a_cached_function_shows_its_signature_and_what_is_stored(
    tmp_path: Path,
) -> None:
    @Memory(tmp_path).cache
    def scale(x: int, *, by: int = 2) -> int:
        return x * by

    scale(1)

    shown = text_of(scale._repr_html_())  # type: ignore[union-attr]

    assert "scale(x: 'int', *, by: 'int' = 2) -> 'int'" in shown
    assert str(tmp_path) in shown
    assert "misses 1" in shown


def test_a_reference_shows_the_arguments_but_for_those_redacted(tmp_path: Path) -> None:
    @Memory(tmp_path).cache(redact=["password"])
    def load(name: str, password: str) -> str:
        return name + password

    reference = load.call_and_shelve("<people>", "secret")

    shown = text_of(reference._repr_html_())
    reference.clear()

    assert "name '<people>'" in shown
    assert "password (redacted)" in shown
    assert "secret" not in shown
    assert "gone" in text_of(reference._repr_html_())
