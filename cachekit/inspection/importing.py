"""Import the function that a person names, as the program that calls it would."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from cachekit import nesting
from cachekit.errors import CacheMiss
from cachekit.memoization.memory import all_offline
from cachekit.texts import hint_for

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def is_function_name(name: str) -> bool:
    """Tell the name of a function from that of an entry.

    Parameters
    ----------
    name : str
        What a person has typed.

    Returns
    -------
    bool
        False for digits and for paths of entries.

    Examples
    --------
    >>> is_function_name("analysis.fit"), is_function_name("scripts/run.py:fit")
    (True, True)
    >>> is_function_name("3f9c2d"), is_function_name("store/analysis.fit/3f9c/ab/cd")
    (False, False)
    """
    return ":" in name.rpartition("/")[2] or bool(_NAME.fullmatch(name))


def is_module_name(name: str) -> bool:
    """Tell whether a name is made of modules: no file, which a record might name."""
    return bool(_NAME.fullmatch(name))


def import_function(name: str) -> object:
    """Import a function, with the current folder first in the search.

    What is imported computes nothing that is to be cached: a script that calls its
    cached functions at once is imported up to the first call that has no result.

    Parameters
    ----------
    name : str
        ``module.qualname``, ``module:qualname``, or ``path/to/script.py:qualname``. A
        script is imported under the name that its functions are stored by when it is
        run; one in a package, beside ``__init__.py``, as a module of that.

    Returns
    -------
    object
        What has the name.

    Raises
    ------
    ValueError
        If there is no such module, it cannot be imported, or has no such function.
    """
    place, _, qualname = name.rpartition(":")
    if "<" in name:
        raise ValueError(f"{name} is made inside of a function: it cannot be imported")
    if not place and name.endswith(".py") and Path(name).is_file():
        example = _a_function_in(Path(name))
        raise ValueError(f"name a function in {name}, as {name}:{example}")
    _search_first(Path.cwd())
    if place.endswith(".py"):
        module = _module_of_script(Path(place))
    elif place:
        module = _module(place)
    else:
        top, _, qualname = name.partition(".")
        module = _module(top)
    return _attribute(module, qualname)


def _a_function_in(path: Path) -> str:
    """Return the name of a function of a script, of a decorated one if it has any.

    It is only read: what is not named is not run.
    """
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return "function"
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [node for node in body if isinstance(node, kinds)]
    found.sort(key=lambda node: not node.decorator_list)
    return found[0].name if found else "function"


def _search_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def _module_of_script(path: Path) -> ModuleType:
    path = path.absolute()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    name, folder = path.stem, path.parent
    if name == "__main__":  # of `python -m package`
        name = f"{folder.name}.__main__"
        folder = folder.parent
    while (folder / "__init__.py").is_file():
        name = f"{folder.name}.{name}"
        folder = folder.parent
    _search_first(folder)
    parent = name.rpartition(".")[0]
    if parent:
        return _module(name)
    return _execute(name, importlib.util.spec_from_file_location(name, path))


def _module(name: str) -> ModuleType:
    """Import a module, and the packages that it is in."""
    if name in sys.modules:
        return sys.modules[name]
    parent, _, last = name.rpartition(".")
    package = _module(parent) if parent else None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # what it should be in is no package
        spec = None
    module = _execute(name, spec)
    if package is not None:
        setattr(package, last, module)
    return module


def _execute(name: str, spec: ModuleSpec | None) -> ModuleType:
    if spec is None:
        raise ValueError(f"there is no module {name} in {Path.cwd()} or installed")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    if spec.loader is None:  # a folder of modules, without `__init__.py`
        return module
    with _quietly(str(module.__file__)):
        try:
            spec.loader.exec_module(module)
        except (CacheMiss, SystemExit):  # it is a script; up to here it is defined
            return module
        except Exception as error:
            if before is None:  # nobody is to find half a module
                del sys.modules[name]
            else:
                sys.modules[name] = before
            raise ValueError(
                f"importing {name} failed: {type(error).__name__}: {error}"
            ) from error
    return module


@contextlib.contextmanager
def _quietly(file: str) -> Iterator[None]:
    """Have nothing computed, here or in workers, and no output as of a script."""
    arguments, sys.argv = sys.argv, [file]
    try:
        with contextlib.redirect_stdout(sys.stderr), all_offline(), nesting.alone():
            yield
    finally:
        sys.argv = arguments


def _attribute(module: ModuleType, qualname: str) -> object:
    found: object = module
    for part in qualname.split("."):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            inner = f"{found.__name__}.{part}"
            if not hasattr(found, "__path__") or not importlib.util.find_spec(inner):
                raise _no_function(found, part)
            found = _module(inner)
        elif hasattr(found, part):
            found = getattr(found, part)
        else:
            raise _no_function(module, qualname)
    return found


def _no_function(module: ModuleType, name: str) -> ValueError:
    known = [one for one, what in vars(module).items() if callable(what)]
    hint = hint_for(name, known)
    return ValueError(f"{module.__name__} has no function {name!r}{hint}")
