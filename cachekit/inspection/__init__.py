"""What is in a store: functions that return dataclasses, for the command line and you.

Nothing here prints.
"""

from cachekit.inspection.explaining import (
    Why,
    is_cached,
    why_call,
    why_entry,
    why_function,
)
from cachekit.inspection.importing import import_function, is_function_name
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
from cachekit.inspection.transfer import (
    Listed,
    Transfer,
    copy_entries,
    export_entries,
    import_entries,
    lacking,
    place_at,
)
from cachekit.memoization import default_location
from cachekit.memoization.explaining import Explanation

__all__ = [
    "EntryReport",
    "Explanation",
    "FunctionReport",
    "Listed",
    "Transfer",
    "Why",
    "copy_entries",
    "default_location",
    "entries",
    "export_entries",
    "find",
    "functions",
    "import_entries",
    "import_function",
    "is_cached",
    "is_function_name",
    "lacking",
    "pin",
    "place_at",
    "remove",
    "select",
    "store_at",
    "unpin",
    "why_call",
    "why_entry",
    "why_function",
]
