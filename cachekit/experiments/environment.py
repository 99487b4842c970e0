"""Where a run happens: its command line, its packages, its machine."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cachekit.amounts import counted, format_size

# What else decides what a program computes, and is no secret.
_VARIABLES = (
    "PYTHONHASHSEED",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
)

# Files of modules that are listed.
_MOST_SOURCES = 500


def describe_command() -> dict[str, Any]:
    """Return how this program was called, so that it can be called again."""
    script = script_of_program()
    return {
        "arguments": list(sys.argv),
        "original": list(sys.orig_argv),
        "executable": sys.executable,
        "folder": _working_folder(),
        "script": None if script is None else str(script),
        "paths": [os.path.abspath(path) for path in sys.path if _is_own(path)],  # noqa: PTH100
        "environment": {
            name: os.environ[name] for name in _VARIABLES if name in os.environ
        },
    }


def script_of_program() -> Path | None:
    """Return the file that is run; None of an interpreter, a notebook or ``-c``."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if file is None else Path(file).absolute()


def is_installed(script: Path) -> bool:
    """Tell whether a script is an installed command or module, not a user's."""
    if script.is_relative_to(Path(__file__).parents[1]):
        return True
    is_package = {"site-packages", "dist-packages"} & set(script.parts)
    commands = Path(sys.executable).parent  # of the environment, links not followed
    return bool(is_package) or script.parent == commands


def _is_own(path: str) -> bool:
    """Tell whether modules of the user's may be there."""
    inside = os.path.abspath(path)  # noqa: PTH100
    places = {sys.prefix, sys.base_prefix}
    return os.path.isdir(inside) and not any(  # noqa: PTH112
        inside == place or inside.startswith(place + os.sep) for place in places
    )


def _working_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return ""


def imported_packages() -> dict[str, str]:
    """Return the versions of the installed packages of which a module was imported."""
    from importlib import metadata

    imported = {name.partition(".")[0] for name in list(sys.modules)}
    names = {
        name
        for module, owners in _owners(tuple(map(_state_of, sys.path))).items()
        if module in imported
        for name in owners
    }
    found = {}
    for name in sorted(names, key=str.lower):
        try:
            found[name] = str(metadata.version(name))
        except (metadata.PackageNotFoundError, KeyError, TypeError):
            continue  # half removed
    return found


def packages_of(libraries: Mapping[str, str]) -> dict[str, str]:
    """Return versions by the names of packages, given them by those of modules.

    Parameters
    ----------
    libraries : mapping of str to str
        As the description of code has them: ``{"sklearn": "1.9.1"}``.

    Returns
    -------
    dict of str to str
        ``{"scikit-learn": "1.9.1"}``. What belongs to Python is left out.
    """
    owners = _owners(tuple(map(_state_of, sys.path)))
    return {
        next(iter(owners.get(module, ())), module): version
        for module, version in libraries.items()
        if module != "python" and module not in sys.stdlib_module_names
    }


def _state_of(folder: str) -> tuple[str, int]:
    """Return what is another one after something was installed in a folder."""
    try:
        return folder, os.stat(folder or ".").st_mtime_ns  # noqa: PTH116
    except OSError:
        return folder, 0


@functools.lru_cache(maxsize=1)
def _owners(folders: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:  # noqa: ARG001
    """Return which packages each module is of; to find that takes 150 ms."""
    from importlib import metadata

    return metadata.packages_distributions()


def imported_sources() -> list[str]:
    """Return the files of the user's own modules that were imported, and the script."""
    files = {
        getattr(module, "__file__", None)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in sys.stdlib_module_names
    }
    own = [
        os.path.abspath(file)  # noqa: PTH100
        for file in files
        if isinstance(file, str) and file.endswith(".py") and _is_own_file(file)
    ]
    return sorted(own)[:_MOST_SOURCES]


def _is_own_file(file: str) -> bool:
    path = Path(file).absolute()
    return _is_own(str(path.parent)) and not is_installed(path)


def describe_hardware() -> dict[str, Any]:
    """Return what the machine is: processor, cores, memory in bytes, GPUs."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory": _memory(),
        "gpus": _gpus(),
        "system": platform.platform(),
    }


def machine_parts(hardware: Mapping[str, Any]) -> list[str]:
    """Say what a machine is, as far as it was described."""
    cores, memory = hardware.get("cores"), hardware.get("memory")
    gpus = hardware.get("gpus")
    parts = [
        str(hardware.get("cpu") or ""),
        counted(cores, "core") if isinstance(cores, int) else "",
        f"{format_size(memory)} of memory" if isinstance(memory, int) else "",
        ", ".join(map(str, gpus)) if isinstance(gpus, list) else "",
        str(hardware.get("system") or ""),
    ]
    return [part for part in parts if part]


def _cpu() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on every system
        return None


def _gpus() -> list[str]:
    """Name the GPUs, if who runs has imported torch: to import it takes seconds."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_available():
            return []
        devices = range(torch.cuda.device_count())
        return [str(torch.cuda.get_device_name(number)) for number in devices]
    except Exception:  # noqa: BLE001  (drivers fail in many ways)
        return []


def user_name() -> str:
    """Return who runs; empty where that is not known."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""
