"""What a cell shows: recorded while it runs, and shown again."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# ("stdout", text), ("stderr", text), ("publish", data, metadata, display_id, update)
# or ("clear_output",)
Event = tuple[Any, ...]


@contextlib.contextmanager
def recording(shell: Any) -> Iterator[list[Event]]:
    """Record what is printed and displayed in the block, in its order.

    IPython's own `capture_output` would keep it back until the end.
    """
    events: list[Event] = []
    publisher, out, err = shell.display_pub, sys.stdout, sys.stderr
    publish, clear = publisher.publish, publisher.clear_output

    def note_display(
        data: dict[str, Any], metadata: dict[str, Any] | None = None, **more: Any
    ) -> None:
        name = (more.get("transient") or {}).get("display_id")
        lasting = {kind: part for kind, part in data.items() if "widget" not in kind}
        update = more.get("update", False)
        events.append(("publish", lasting or data, dict(metadata or {}), name, update))
        # A terminal prints what is displayed.
        with contextlib.redirect_stdout(out):
            publish(data, metadata, **more)

    def note_clear(wait: bool = False) -> None:
        events[:] = [("clear_output",)]
        with contextlib.redirect_stdout(out):
            clear(wait)

    publisher.publish, publisher.clear_output = note_display, note_clear
    sys.stdout, sys.stderr = _Tee(out, "stdout", events), _Tee(err, "stderr", events)
    try:
        yield events
        _show_figures(shell)
    finally:
        sys.stdout, sys.stderr = out, err
        del publisher.publish, publisher.clear_output


class _Tee:
    """A stream that also notes what is written to it."""

    def __init__(self, stream: Any, name: str, events: list[Event]) -> None:
        self._stream = stream
        self._name = name
        self._events = events

    def write(self, text: str) -> int:
        written: int = self._stream.write(text)
        self._events.append((self._name, text))
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _show_figures(shell: Any) -> None:
    """Have matplotlib show its figures now, not when the cell with the magic ends."""
    module = sys.modules.get("matplotlib_inline.backend_inline")
    flush = getattr(module, "flush_figures", None)
    if flush is not None and flush in shell.events.callbacks["post_execute"]:
        flush()


def show_again(shell: Any, events: Iterable[Event]) -> None:
    """Show what was recorded."""
    for kind, *event in events:
        if kind == "publish":
            data, metadata, name, update = event
            transient = {"display_id": name} if name else None
            shell.display_pub.publish(
                data, metadata, transient=transient, update=update
            )
        elif kind == "clear_output":
            shell.display_pub.clear_output(wait=True)
        else:
            getattr(sys, kind).write(event[0])


@contextlib.contextmanager
def raising_its_own(shell: Any, filename: str) -> Iterator[None]:
    """Have what a cell raises shown as if there were no magic around it."""
    try:
        yield
    except BaseException as error:
        show: Callable[[], Any] = functools.partial(
            _traceback_from, shell, filename, error
        )
        with contextlib.suppress(AttributeError, TypeError):
            error._render_traceback_ = show  # type: ignore[attr-defined]
        raise


def _traceback_from(shell: Any, filename: str, error: BaseException) -> Any:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != filename:
        trace = trace.tb_next
    show = shell.InteractiveTB.structured_traceback
    return show(type(error), error, trace or error.__traceback__, tb_offset=0)
