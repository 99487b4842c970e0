"""A cell: its code, and what becomes of one run of it."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import io
import sys
import time
import types
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cachekit.errors import CacheWarning, UnhashableArgument
from cachekit.hashing import Code, digest
from cachekit.hashing.syntax import write_syntax
from cachekit.memoization import Memory
from cachekit.notebooks.kept import Packed, Unkeepable, pack, unpack
from cachekit.notebooks.names import (
    Names,
    definitions_in,
    is_pythons,
    names_held_by_functions,
)
from cachekit.notebooks.shown import Event, raising_its_own, recording, show_again

_FORMAT = 2

_MISSING = object()


class Cell:
    """The code of a cell, parsed under the name by which the shell shows its lines."""

    def __init__(self, shell: Any, text: str) -> None:
        from IPython.core.displayhook import DisplayHook

        self._compile = shell.compile
        # As many lines above as the notebook shows, where the first is the magic's.
        above = 1 + text[: len(text) - len(text.lstrip())].count("\n")
        source = "\n" * above + shell.transform_cell(text)
        self.filename = shell.compile.cache(source, shell.execution_count)
        tree = ast.parse(source, self.filename)
        code = compile(tree, self.filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        self.awaits = bool(code.co_flags & inspect.CO_COROUTINE)
        self.tree: ast.Module = shell.transform_ast(tree)
        hook: Any = DisplayHook  # which has no annotations
        self._is_silent = bool(hook.semicolon_at_end_of_expression(text))

    @property
    def syntax(self) -> list[object]:
        """What counts of the code: no comments, docstrings or formatting."""
        written = write_syntax(self.tree.body, in_function=False)
        return [*written, self._is_silent, self._compile.flags]

    def run(self, space: dict[str, Any]) -> object:
        """Run the cell; return the value that it shows at its end."""
        body = self.tree.body
        last = body[-1] if body else None
        if not isinstance(last, ast.Expr):
            self._execute(body, space)
            return None
        self._execute(body[:-1], space)
        code = self._compile(ast.Expression(last.value), self.filename, "eval")
        value = eval(code, space)
        return None if self._is_silent else value

    def define(self, space: dict[str, Any]) -> None:
        """Run its definitions alone."""
        self._execute(definitions_in(self.tree), space)

    def _execute(self, body: list[ast.stmt], space: dict[str, Any]) -> None:
        exec(self._compile(ast.Module(body, []), self.filename, "exec"), space)


class _NotKept(Exception):
    """The outcome of the cell is not to be stored; says why."""


@dataclass
class Run:
    """One run of a cell.

    Attributes
    ----------
    shell : InteractiveShell
        Where.
    cell, names : Cell, Names
        What, and what that does to the names of the notebook.
    memory : Memory
        Where outcomes are kept.
    ignored, outputs : set of str
        Names that do not count; the names to keep, or none for all.
    is_verbose : bool
        Say whether it was a hit.
    """

    shell: Any
    cell: Cell
    names: Names
    memory: Memory
    ignored: set[str]
    outputs: set[str]
    is_verbose: bool
    _inputs: dict[str, str] = field(default_factory=dict)
    _result: object = None
    _seconds: float | None = None

    def __call__(self) -> object:
        """Run the cell or show it again; return the value of its last expression."""
        if self.memory.store is None or self.names.problem:
            return self._run_uncached(self.names.problem)
        try:
            self._inputs = self._digests(self._space)
            code = digest([_FORMAT, self.cell.syntax, sorted(self.outputs)])
        except _NotKept as error:
            return self._run_uncached(str(error))
        except RecursionError:
            return self._run_uncached("its code is nested too deeply")

        def cell(code: object, inputs: object) -> dict[str, Any]:  # noqa: ARG001
            return self._compute()

        # Of the notebook, and of no name that a function of the user's can have.
        cell.__module__ = "__main__"
        cell.__name__ = cell.__qualname__ = "%%cache"
        try:
            outcome = self.memory.cache(cell, track="off")(code, self._inputs)
        except _NotKept as error:
            self._warn(str(error))
            return self._result
        if self._seconds is None:
            return self._play(outcome)
        self._say(f"miss, took {self._seconds:.1f} s")
        return self._result

    @property
    def _space(self) -> dict[str, Any]:
        return self.shell.user_ns  # type: ignore[no-any-return]

    # --- the key ---

    def _digests(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Hash what the cell reads of some values of the notebook's names."""
        found = {}
        modules = {}
        for name in sorted((self.names.reads | self._passing) - self.ignored):
            value = values.get(name, _MISSING)
            # IPython has put `open`, `exit` and the like there.
            is_hidden = self.shell.user_ns_hidden.get(name, values) is value
            if isinstance(value, types.ModuleType):
                modules[name] = value
            elif value is not _MISSING and not (is_hidden and callable(value)):
                found[name] = self._digest(name, value)
        for name in sorted(modules.keys() & self.names.changed):
            raise _NotKept(f"it sets something in {name}")
        try:
            return {**found, "import": self._digest_modules(modules)}
        except UnhashableArgument as error:
            raise _NotKept(f"what it imports has no stable digest: {error}") from None

    def _digest(self, name: str, value: object) -> str:
        try:
            return digest(value)
        except UnhashableArgument as error:
            raise _NotKept(
                f"{name} has no stable digest ({error.reason}"
                f"{error.path and ' at '}{error.path}); if it does not change the "
                f"result: %%cache --ignore {name}"
            ) from None

    @functools.cached_property
    def _passing(self) -> set[str]:
        """Names that may have in the end what they have now, though it reads them not.

        Functions bind some of them; others are bound in a branch, and cannot be taken
        away meanwhile, since there are functions that might miss them.
        """
        mentioned, bound = names_held_by_functions(self._space)
        return bound | (self._uncertain & mentioned)

    @property
    def _uncertain(self) -> set[str]:
        return self.names.computed - self.names.certain - self.names.reads

    def _digest_modules(self, modules: dict[str, Any]) -> str:
        """Hash what the cell reads of the user's modules, as if it were a function."""
        paths = sorted(path for path in self.names.paths if path[0] in modules)
        lines = [".".join(path) for path in paths]
        for number, wanted in enumerate(self.names.imports):
            if wanted.level == 0:
                lines.append(f"import {wanted.module} as module_{number}")
                lines.append(".".join((f"module_{number}", *wanted.path)))
        source = "\n    ".join(("def read():", *lines, "pass"))
        space = {"__name__": "__main__", **modules}
        exec(compile(source, "<imports>", "exec", dont_inherit=True), space)
        function: Any = space["read"]
        return Code(function).fingerprint()

    # --- miss ---

    def _run_uncached(self, reason: str) -> object:
        if reason:
            self._warn(reason)
        with raising_its_own(self.shell, self.cell.filename):
            self._result = self.cell.run(self._space)
        return self._result

    def _compute(self) -> dict[str, Any]:
        """Run the cell, and return what is to be stored of it."""
        before = dict(self._space)
        clock = time.perf_counter()
        events, bound = self._run_recorded()
        self._seconds = time.perf_counter() - clock
        self._check_names(before)
        self._check_inputs(before)
        kept = bound & self.outputs if self.outputs else bound
        values = {name: self._space[name] for name in sorted(kept)}
        values = {n: value for n, value in values.items() if not _is_closed_file(value)}
        deleted = self.names.computed & self.names.reads - bound
        return {
            "seconds": self._seconds,
            "events": events,
            "unbound": sorted(deleted | bound - values.keys()),
            "packed": self._pack(values),
        }

    def _run_recorded(self) -> tuple[list[Event], set[str]]:
        """Run the cell; return what it shows, and the names that it has computed.

        What it may or may not bind is taken away meanwhile, to see whether it does.
        """
        taken = (self._uncertain - self._passing) & self._space.keys()
        before = {name: self._space.pop(name) for name in taken}
        is_its_own = raising_its_own(self.shell, self.cell.filename)
        try:
            with recording(self.shell) as events, is_its_own:
                self._result = self.cell.run(self._space)
            return events, self.names.computed & self._space.keys()
        finally:
            for name, value in before.items():
                self._space.setdefault(name, value)

    def _check_names(self, before: dict[str, Any]) -> None:
        """Raise if a name was bound out of sight, as by a function that it calls."""
        in_sight = self.names.computed | self.names.defined
        for name in sorted((before.keys() | self._space.keys()) - in_sight):
            is_same = before.get(name, _MISSING) is self._space.get(name, _MISSING)
            if not is_same and not is_pythons(name):
                raise _NotKept(f"it has bound {name} out of sight, in what it calls")

    def _check_inputs(self, before: dict[str, Any]) -> None:
        """Raise if the cell has changed what it reads: that a hit would not do.

        To bind a changed copy would not be enough: other names may share the object.
        """
        now = self._digests(before)
        for name in sorted(self._inputs):
            if now[name] != self._inputs[name]:
                what = "a module" if name == "import" else name
                raise _NotKept(
                    f"it changes {what} in place, or something that {what} reads: "
                    f"change a copy instead, or make {what} in this cell"
                )

    def _pack(self, values: dict[str, Any]) -> Packed:
        """Pack what is bound, and the last value."""
        with contextlib.suppress(Unkeepable):
            return pack((values, self._result), self.names.computed)
        for name, value in {**values, "its last value": self._result}.items():
            try:
                pack(value, self.names.computed)
            except Unkeepable as error:
                raise _NotKept(
                    f"{name} cannot be kept ({error}); name what you need by "
                    f"--outputs, and end the cell in a semicolon if it shows that"
                ) from None
        raise _NotKept("what it binds cannot be kept together")

    # --- hit ---

    def _play(self, outcome: dict[str, Any]) -> object:
        from IPython.utils.capture import capture_output

        try:
            # What definitions print is among what is shown again.
            with capture_output():
                self.cell.define(self._space)
            values, result = unpack(outcome["packed"])
        except Exception as error:  # noqa: BLE001  (it is the values' code that runs)
            return self._run_uncached(f"what is stored of it cannot be read: {error}")
        show_again(self.shell, outcome["events"])
        self._space.update(values)
        for name in outcome["unbound"]:
            self._space.pop(name, None)
        self._say(f"hit, saved {outcome['seconds']:.1f} s")
        return result

    # --- messages ---

    def _say(self, text: str) -> None:
        if self.is_verbose:
            sys.stdout.write(f"cache: {text}\n")

    def _warn(self, reason: str) -> None:
        # Without a registry: a cell that is not cached says so each time.
        text = f"this cell is not cached: {reason}"
        warnings.warn_explicit(CacheWarning(text), None, self.cell.filename, 1)


def _is_closed_file(value: object) -> bool:
    return isinstance(value, io.IOBase) and value.closed
