"""What is in a store: functions that return dataclasses, for the command line and you.

Nothing here prints.
"""

from cachekit.inspection.accepting import (
    Proposal,
    accept,
    check,
    propose,
    withdraw,
)
from cachekit.inspection.choosing import Conditions, Order, newest_versions
from cachekit.inspection.differences import (
    ArrayDifference,
    Cell,
    Leaf,
    ValueDifferences,
    compare_values,
)
from cachekit.inspection.drawing import dot, edge_label, label_lines, mermaid
from cachekit.inspection.explaining import (
    Why,
    is_cached,
    why_call,
    why_entry,
    why_function,
)
from cachekit.inspection.frames import Reports, to_frame
from cachekit.inspection.graph import Edge, Graph, Node, graph
from cachekit.inspection.health import Finding, examine
from cachekit.inspection.importing import import_function, is_function_name
from cachekit.inspection.keeping import pin, remove, unpin
from cachekit.inspection.locating import location_for
from cachekit.inspection.pairs import EntryDifferences, compare_entries
from cachekit.inspection.pruning import (
    Criteria,
    Leaving,
    PrunedFunction,
    prune,
    sum_up_pruned,
    to_prune,
)
from cachekit.inspection.recomputing import Recomputed, recompute
from cachekit.inspection.reports import (
    EntryReport,
    FunctionReport,
    entries,
    find,
    functions,
    select,
    store_at,
)
from cachekit.inspection.sweeping import Leftover, leftovers, sweep
from cachekit.inspection.transfer import (
    Listed,
    Transfer,
    copy_entries,
    export_entries,
    import_entries,
    lacking,
    place_at,
)
from cachekit.inspection.usage import (
    AgeReport,
    FunctionStatistics,
    VersionReport,
    ages,
    statistics,
    versions,
)
from cachekit.inspection.values import Buffer, Loaded, Outline, load_value, outline
from cachekit.inspection.verification import (
    Problem,
    Verified,
    put_away,
    signing_secret,
    verify,
)
from cachekit.memoization.accepting import Acceptance
from cachekit.memoization.accepting import read_acceptances as acceptances
from cachekit.memoization.explaining import Explanation
from cachekit.memoization.wording import unit_lines

__all__ = [
    "Acceptance",
    "AgeReport",
    "ArrayDifference",
    "Buffer",
    "Cell",
    "Conditions",
    "Criteria",
    "Edge",
    "EntryDifferences",
    "EntryReport",
    "Explanation",
    "Finding",
    "FunctionReport",
    "FunctionStatistics",
    "Graph",
    "Leaf",
    "Leaving",
    "Leftover",
    "Listed",
    "Loaded",
    "Node",
    "Order",
    "Outline",
    "Problem",
    "Proposal",
    "PrunedFunction",
    "Recomputed",
    "Reports",
    "Transfer",
    "ValueDifferences",
    "Verified",
    "VersionReport",
    "Why",
    "accept",
    "acceptances",
    "ages",
    "check",
    "compare_entries",
    "compare_values",
    "copy_entries",
    "dot",
    "edge_label",
    "entries",
    "examine",
    "export_entries",
    "find",
    "functions",
    "graph",
    "import_entries",
    "import_function",
    "is_cached",
    "is_function_name",
    "label_lines",
    "lacking",
    "leftovers",
    "load_value",
    "location_for",
    "mermaid",
    "newest_versions",
    "outline",
    "pin",
    "place_at",
    "propose",
    "prune",
    "put_away",
    "recompute",
    "remove",
    "select",
    "signing_secret",
    "statistics",
    "store_at",
    "sum_up_pruned",
    "sweep",
    "to_frame",
    "to_prune",
    "unit_lines",
    "unpin",
    "verify",
    "versions",
    "why_call",
    "why_entry",
    "why_function",
    "withdraw",
]
