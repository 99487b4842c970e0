"""Texts as people see them: nothing that a terminal obeys, and not too long.

A store may hold what others wrote, and a repr is the user's code.
"""

from __future__ import annotations

from collections.abc import Iterable


def plain(text: str) -> str:
    r"""Write out line ends, and what else a terminal would obey.

    >>> plain("a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    if str.isprintable(text):
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was likely meant, if there is one.

    >>> nearest("njobs", ["n_jobs", "verbose"])
    'n_jobs'
    """
    from difflib import get_close_matches

    found = get_close_matches(word.lower(), list(known), n=1, cutoff=0.8)
    return found[0] if found else None


def cut(text: str, most: int) -> str:
    """Cut a text at its end, so that it has so many letters at most.

    >>> cut("superpixels", 6)
    'super…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
