"""Value to digest, and function to fingerprint.

A *digest* is 32 hexadecimal digits that two values share exactly when they are
equal; a *fingerprint* is the same for code. Nothing here knows of stores or files.
"""

from cachekit.hashing.boundary import main_name
from cachekit.hashing.code import (
    Code,
    CodeVersion,
    fingerprint,
    function_name,
)
from cachekit.hashing.hasher import HASH_VERSION, digest, hash  # noqa: A004
from cachekit.hashing.reducers import register_hasher

__all__ = [
    "HASH_VERSION",
    "Code",
    "CodeVersion",
    "digest",
    "fingerprint",
    "function_name",
    "hash",
    "main_name",
    "register_hasher",
]
