"""The magic ``%%cache`` and its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cachekit.memoization import Memory, default_memory
from cachekit.notebooks.cell import Cell, Run
from cachekit.notebooks.names import names_of

_OPTIONS: dict[str, dict[str, Any]] = {
    "--memory": {"metavar": "NAME", "help": "A Memory of the notebook, by its name."},
    "--location": {"help": "A folder or a URL to keep results in, as for Memory."},
    "--ignore": {
        "metavar": "NAMES",
        "default": "",
        "help": "Names that the cell reads and that do not count: name,name.",
    },
    "--outputs": {
        "metavar": "NAMES",
        "default": "",
        "help": "The names to keep: name,name. By default all that the cell binds.",
    },
    "--verbose": {"action": "store_true", "help": "Say whether it was a hit."},
}


def load_ipython_extension(shell: Any) -> None:
    """Give the shell the magic ``%%cache``; ``%load_ext cachekit`` calls this.

    Parameters
    ----------
    shell : IPython.InteractiveShell
        The shell of the notebook.
    """
    shell.register_magic_function(
        _make_magic(shell), magic_kind="cell", magic_name="cache"
    )


def unload_ipython_extension(shell: Any) -> None:
    """Take the magic away again.

    Parameters
    ----------
    shell : IPython.InteractiveShell
        The shell of the notebook.
    """
    shell.magics_manager.magics["cell"].pop("cache", None)


def _make_magic(shell: Any) -> Callable[[str, str], object]:
    from IPython.core import magic_arguments

    arguments: Any = magic_arguments  # which has no annotations

    def cache(line: str, cell: str) -> object:
        """Run a cell once.

        What it binds and shows is kept, and comes back when its code is the same and
        the values of the names that it reads are.
        """
        return _run(shell, arguments.parse_argstring(made, line), cell)

    for name, about in reversed(_OPTIONS.items()):
        cache = arguments.argument(name, **about)(cache)
    made: Any = arguments.magic_arguments("%cache")(cache)
    return made  # type: ignore[no-any-return]


def _run(shell: Any, options: Any, text: str) -> object:
    if shell.user_ns is not shell.user_global_ns:
        raise _usage_error("works in a notebook, not in an embedded shell")
    memory = _find_memory(shell, options)
    cell = Cell(shell, text)
    if cell.awaits:
        raise _usage_error("the cell awaits: move that to a cell of its own")
    names = names_of(cell.tree)
    if "get_ipython" in names.reads:
        raise _usage_error(
            "the cell runs a magic or a shell command: move that to a cell of its own, "
            "or above %%cache"
        )
    ignored = _listed("--ignore", options.ignore, "reads", names.reads)
    outputs = _listed("--outputs", options.outputs, "computes", names.computed)
    return Run(shell, cell, names, memory, ignored, outputs, options.verbose)()


def _listed(option: str, text: str, does: str, known: set[str]) -> set[str]:
    listed = {part.strip() for part in text.split(",")} - {""}
    for name in sorted(listed - known):
        others = ", ".join(sorted(known)) or "nothing"
        raise _usage_error(f"{option} {name}: the cell {does} no {name}, only {others}")
    return listed


def _find_memory(shell: Any, options: Any) -> Memory:
    if options.memory and options.location:
        raise _usage_error("--memory or --location, not both")
    if options.location:
        return Memory(options.location.strip("'\""))
    if not options.memory:
        return default_memory()
    found = shell.user_ns.get(options.memory)
    if not isinstance(found, Memory):
        raise _usage_error(f"--memory {options.memory}: that is no Memory")
    return found


def _usage_error(reason: str) -> Exception:
    from IPython.core.error import UsageError

    error: Exception = UsageError(f"%%cache: {reason}")
    return error
