"""Value to digest, and function to fingerprint.

A *digest* is 32 hexadecimal digits that two values share exactly when they are
equal; a *fingerprint* is the same for code. Nothing here knows of stores or files.
"""

from cachekit.hashing.code import CodeVersion, code_version, fingerprint, function_name
from cachekit.hashing.hasher import HASH_VERSION, digest

__all__ = [
    "HASH_VERSION",
    "CodeVersion",
    "code_version",
    "digest",
    "fingerprint",
    "function_name",
]
