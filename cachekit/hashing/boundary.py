"""Whose code is it? The user's is followed, a library's counts by its name.

The user's code is what lies outside of the standard library and of installed
distributions; an editable install is the user's. A library's version is recorded,
and takes part in a key only if the user asks for that.
"""

from __future__ import annotations

import functools
import importlib.util
import site
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

# The pipelines that come with cachekit are followed like a user's code; the rest of
# it is a library to them.
_OWN_PIPELINES = "cachekit.pipelines."

# Where other Pythons have what this one has elsewhere.
_MOVED = {"pathlib._local": "pathlib"}

# The script that is run; the second in the workers that it starts.
_MAIN = ("__main__", "__mp_main__")


def module_name(thing: Any) -> str:
    """Return the module of a function or class; ``__main__`` goes by its file."""
    return imported_name(str(getattr(thing, "__module__", None) or ""))


def imported_name(name: str) -> str:
    """Return the name that a module has, or would have, when it is imported."""
    if name in _MAIN:
        return main_name()
    return _MOVED.get(name, name)


def main_name() -> str:
    """Return the name under which the main module would be imported.

    Returns
    -------
    str
        As in ``"analysis"`` for the script ``analysis.py``.
    """
    main = sys.modules["__main__"]
    # A worker that is just being spawned runs the script under the second name. Else
    # that is an alias of the first main module, whose place another may have by now.
    spawned = sys.modules.get("__mp_main__")
    if spawned is not None and spawned.__name__ == "__mp_main__":
        main = spawned
    if _sender is not None and not _is_users_main(main):
        return _sender
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return _stem_of(file) if file else "__main__"


# Every record has this name, and a path takes ten microseconds.
@functools.lru_cache(maxsize=64)
def _stem_of(file: str) -> str:
    return Path(file).stem


def _is_users_main(main: types.ModuleType) -> bool:
    """Tell a script of the user's from a library's, and from an installed command."""
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return is_users(str(spec.name))
    file = getattr(main, "__file__", None)
    return file is not None and _is_users_script(file)


@functools.lru_cache(maxsize=64)
def _is_users_script(file: str) -> bool:
    commands = Path(sysconfig.get_path("scripts"))
    is_command = Path(file).absolute().is_relative_to(commands)
    return not is_command and _is_users_file(Path(file).stem, file)


def sent_from(name: str) -> None:
    """Note the name of the script that has sent its functions to this process.

    A worker whose main module is a library's, such as loky's, has no other way to know
    what ``__main__`` stands for in what it was sent.
    """
    global _sender
    _sender = name


_sender: str | None = None


def is_users(name: str, *, package: str = "") -> bool:
    """Tell whether a module is the user's.

    Parameters
    ----------
    name : str
        Of the module.
    package : str, default ""
        A top-level package that counts as the user's wherever it is installed.
    """
    if name in _MAIN:
        return True
    top = name.partition(".")[0]
    if top == "cachekit":
        return name.startswith(_OWN_PIPELINES)
    if top == package:
        return True
    if name in sys.modules:
        return _is_users_file(top, getattr(sys.modules[name], "__file__", None))
    return _is_users_file(top, _file_of(top))


def is_standard(name: str) -> bool:
    """Tell whether a module is of the standard library."""
    return name.partition(".")[0] in sys.stdlib_module_names


@functools.lru_cache(maxsize=4096)
def _is_users_file(top: str, file: str | None) -> bool:
    if file is None:  # built in, or made at run time: by exec, in a notebook
        return top not in sys.stdlib_module_names
    return not Path(file).absolute().is_relative_to(_standard_library()) and not any(
        Path(file).absolute().is_relative_to(folder) for folder in _site_folders()
    )


@functools.lru_cache(maxsize=4096)
def _file_of(top: str) -> str | None:
    """Find the file of a module that is not imported, without importing it."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None else None


@functools.cache
def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


@functools.cache
def _site_folders() -> tuple[Path, ...]:
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    folders += [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    return tuple(Path(folder) for folder in dict.fromkeys(folders))


@functools.lru_cache(maxsize=1024)
def library_version(top: str) -> str:
    """Return the version of the library that a top-level module belongs to."""
    if top == "python" or top in sys.stdlib_module_names:
        return ".".join(map(str, sys.version_info[:3]))
    module = sys.modules.get(top)
    version = getattr(module, "__version__", None)
    if isinstance(version, str):  # the quickest, and what most packages have
        return version
    from importlib import metadata

    for distribution in [top, *metadata.packages_distributions().get(top, [])]:
        try:
            return metadata.version(distribution)
        except (metadata.PackageNotFoundError, ValueError):
            continue
    return "unknown"


def home(thing: Any) -> str:
    """Return the module that a function's code, or a class, was written in.

    ``__module__`` would not do: a decorator copies it from what it wraps.
    """
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    if isinstance(thing, types.FunctionType):
        return str(thing.__globals__.get("__name__") or "")
    module = str(getattr(thing, "__module__", None) or "")
    if module == "types" and not hasattr(types, thing.__name__):
        return ""  # what Python 3.11 says of the classes that `make_dataclass` makes
    return module


def name_in_library(thing: Any) -> tuple[str, str] | None:
    """Return where a library keeps an object, as scipy.stats keeps `norm`.

    Such an object is the library's, with whatever state it has: that of
    `random.choice` is a generator, which is another in each process.
    """
    owner = getattr(thing, "__self__", None)
    kept_by: object = type(thing if owner is None else owner).__module__
    if not isinstance(kept_by, str):  # of Cython's functions it is a descriptor
        return None
    for module in (kept_by, kept_by.partition(".")[0]):
        if module not in sys.modules or module == "builtins" or is_users(module):
            continue
        for name, found in list(vars(sys.modules[module]).items()):
            if found is not None and (found is thing or found is owner):
                return (module, f"{name}.{getattr(thing, '__name__', '')}")
    return None
