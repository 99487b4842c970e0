"""What is in a store: functions that return dataclasses, for the command line and you.

Nothing here prints.
"""

from cachekit.inspection.keeping import pin, remove, unpin
from cachekit.inspection.reports import (
    EntryReport,
    FunctionReport,
    entries,
    find,
    functions,
    select,
    store_at,
)

__all__ = [
    "EntryReport",
    "FunctionReport",
    "entries",
    "find",
    "functions",
    "pin",
    "remove",
    "select",
    "store_at",
    "unpin",
]
