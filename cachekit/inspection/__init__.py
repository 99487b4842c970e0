"""What is in a store: functions that return dataclasses, for the command line and you.

Nothing here prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachekit import lazy

if TYPE_CHECKING:
    from cachekit.inspection.accepting import (
        Proposal,
        accept,
        check,
        propose,
        withdraw,
    )
    from cachekit.inspection.archives import export_entries, import_entries
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
    from cachekit.inspection.graphs import Edge, Graph, Node, graph
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
    from cachekit.memoization.accepting import Acceptance, read_acceptances
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
    "read_acceptances",
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

_HOME = {
    "Acceptance": "cachekit.memoization.accepting",
    "AgeReport": "cachekit.inspection.usage",
    "ArrayDifference": "cachekit.inspection.differences",
    "Buffer": "cachekit.inspection.values",
    "Cell": "cachekit.inspection.differences",
    "Conditions": "cachekit.inspection.choosing",
    "Criteria": "cachekit.inspection.pruning",
    "Edge": "cachekit.inspection.graphs",
    "EntryDifferences": "cachekit.inspection.pairs",
    "EntryReport": "cachekit.inspection.reports",
    "Explanation": "cachekit.memoization.explaining",
    "Finding": "cachekit.inspection.health",
    "FunctionReport": "cachekit.inspection.reports",
    "FunctionStatistics": "cachekit.inspection.usage",
    "Graph": "cachekit.inspection.graphs",
    "Leaf": "cachekit.inspection.differences",
    "Leaving": "cachekit.inspection.pruning",
    "Leftover": "cachekit.inspection.sweeping",
    "Listed": "cachekit.inspection.transfer",
    "Loaded": "cachekit.inspection.values",
    "Node": "cachekit.inspection.graphs",
    "Order": "cachekit.inspection.choosing",
    "Outline": "cachekit.inspection.values",
    "Problem": "cachekit.inspection.verification",
    "Proposal": "cachekit.inspection.accepting",
    "PrunedFunction": "cachekit.inspection.pruning",
    "Recomputed": "cachekit.inspection.recomputing",
    "Reports": "cachekit.inspection.frames",
    "Transfer": "cachekit.inspection.transfer",
    "ValueDifferences": "cachekit.inspection.differences",
    "Verified": "cachekit.inspection.verification",
    "VersionReport": "cachekit.inspection.usage",
    "Why": "cachekit.inspection.explaining",
    "accept": "cachekit.inspection.accepting",
    "ages": "cachekit.inspection.usage",
    "check": "cachekit.inspection.accepting",
    "compare_entries": "cachekit.inspection.pairs",
    "compare_values": "cachekit.inspection.differences",
    "copy_entries": "cachekit.inspection.transfer",
    "dot": "cachekit.inspection.drawing",
    "edge_label": "cachekit.inspection.drawing",
    "entries": "cachekit.inspection.reports",
    "examine": "cachekit.inspection.health",
    "export_entries": "cachekit.inspection.archives",
    "find": "cachekit.inspection.reports",
    "functions": "cachekit.inspection.reports",
    "graph": "cachekit.inspection.graphs",
    "import_entries": "cachekit.inspection.archives",
    "import_function": "cachekit.inspection.importing",
    "is_cached": "cachekit.inspection.explaining",
    "is_function_name": "cachekit.inspection.importing",
    "label_lines": "cachekit.inspection.drawing",
    "lacking": "cachekit.inspection.transfer",
    "leftovers": "cachekit.inspection.sweeping",
    "load_value": "cachekit.inspection.values",
    "location_for": "cachekit.inspection.locating",
    "mermaid": "cachekit.inspection.drawing",
    "newest_versions": "cachekit.inspection.choosing",
    "outline": "cachekit.inspection.values",
    "pin": "cachekit.inspection.keeping",
    "place_at": "cachekit.inspection.transfer",
    "propose": "cachekit.inspection.accepting",
    "prune": "cachekit.inspection.pruning",
    "put_away": "cachekit.inspection.verification",
    "read_acceptances": "cachekit.memoization.accepting",
    "recompute": "cachekit.inspection.recomputing",
    "remove": "cachekit.inspection.keeping",
    "select": "cachekit.inspection.reports",
    "signing_secret": "cachekit.inspection.verification",
    "statistics": "cachekit.inspection.usage",
    "store_at": "cachekit.inspection.reports",
    "sum_up_pruned": "cachekit.inspection.pruning",
    "sweep": "cachekit.inspection.sweeping",
    "to_frame": "cachekit.inspection.frames",
    "to_prune": "cachekit.inspection.pruning",
    "unit_lines": "cachekit.memoization.wording",
    "unpin": "cachekit.inspection.keeping",
    "verify": "cachekit.inspection.verification",
    "versions": "cachekit.inspection.usage",
    "why_call": "cachekit.inspection.explaining",
    "why_entry": "cachekit.inspection.explaining",
    "why_function": "cachekit.inspection.explaining",
    "withdraw": "cachekit.inspection.accepting",
}

# Each command needs a few of these modules; all of them take 0.1 s.
__getattr__, __dir__ = lazy.attach(__name__, _HOME)
