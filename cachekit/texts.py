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


def hint_for(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """Return the end of a sentence on a name that there is not: those like it.

    Parameters
    ----------
    name : str
        What there is not.
    known : iterable of str
        What there is.
    likeness : float, default 0.6
        How alike two names have to be, from 0 to 1: see `difflib`.

    Returns
    -------
    str
        Begins with a colon, and has three names at most; empty if nothing is like it.

    Examples
    --------
    >>> "no such command 'wyh'" + hint_for("wyh", ["why", "ls", "info"])
    "no such command 'wyh': did you mean why?"
    >>> hint_for("ftch_page", ["crawl.fetch_page"])  # the end of a name is enough
    ': did you mean crawl.fetch_page?'
    """
    import difflib  # takes a few milliseconds, and few names are misspelt

    names = sorted(set(known))
    wholes: dict[str, list[str]] = {}
    for one in names:
        for written in {one, one.rpartition(".")[2]}:
            wholes.setdefault(written, []).append(one)
    found = difflib.get_close_matches(name, wholes, _MOST_ALIKE, likeness)
    alike = dict.fromkeys(one for written in found for one in wholes[written])
    near = [*alike][:_MOST_ALIKE]
    return f": did you mean {' or '.join(near)}?" if near else ""


# More than these are no help.
_MOST_ALIKE = 3


def cut(text: str, most: int) -> str:
    """Cut a text at its end, so that it has so many letters at most.

    >>> cut("superpixels", 6)
    'super…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
