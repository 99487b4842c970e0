"""One spelling for each address, so that no page is visited twice.

Pure functions over strings. A *path* here is what follows the origin, query
included: ``https://example.org/a?b=1`` is origin ``https://example.org`` and path
``/a?b=1``.
"""

from __future__ import annotations

import re
import string
from urllib.parse import quote, urljoin, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = string.ascii_letters + string.digits + "-._~"
# What may stand in a path or query as it is; "%" because it is quoted already.
_SAFE = "%/:?#[]@!$&'()*+,;="


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address, the port only if it is unusual.

    Raises
    ------
    ValueError
        If `url` has no host, a bad port, or is not http or https.

    Examples
    --------
    >>> origin_of("HTTP://Example.org:80/a#b")
    'http://example.org'
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("it begins neither with http:// nor with https://")
    if not parts.hostname:
        raise ValueError("it names no host")
    # urlsplit takes the brackets from an IPv6 address.
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.port in (None, _DEFAULT_PORTS[parts.scheme]):
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{parts.port}"


def path_of(url: str) -> str:
    """Return path and query of an address in their one spelling.

    Examples
    --------
    >>> path_of("http://example.org/a/../b%7e c?x=1#part")
    '/b~%20c?x=1'
    """
    parts = urlsplit(url)
    path = parts.path or "/"
    if not path.startswith("//"):  # which joined would be a host
        path = urlsplit(urljoin(url, path)).path  # "/a/../b" -> "/b"
    return _respell(f"{path}?{parts.query}" if parts.query else path)


def same_site_path(base: str, link: str) -> str | None:
    """Return the path that a link on the page `base` leads to.

    None if it leads to another site, or nowhere: ``mailto:``, ``https://[``.
    """
    try:
        url = urljoin(base, link.strip())
        return path_of(url) if origin_of(url) == origin_of(base) else None
    except ValueError:  # from urllib, or from us
        return None


def _respell(text: str) -> str:
    """Quote what must be quoted, and nothing else: "%7e c" -> "~%20c"."""
    return re.sub("%[0-9a-fA-F]{2}", _respell_byte, quote(text, safe=_SAFE))


def _respell_byte(match: re.Match[str]) -> str:
    character = chr(int(match[0][1:], base=16))
    return character if character in _UNRESERVED else match[0].upper()
