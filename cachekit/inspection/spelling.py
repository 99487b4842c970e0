"""What a person may have meant who misspelt a name."""

from __future__ import annotations

from collections.abc import Iterable

# More than these are no help.
_MOST = 3


def hint_for(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence, with the names that are like one.

    Parameters
    ----------
    name : str
        What there is not.
    known : iterable of str
        What there is.

    Returns
    -------
    str
        Begins with a colon; empty if nothing is like it.

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
    found = difflib.get_close_matches(name, wholes, _MOST)
    alike = dict.fromkeys(one for written in found for one in wholes[written])
    near = [*alike][:_MOST]
    return f": did you mean {' or '.join(near)}?" if near else ""
