"""The ``cachekit`` command: arguments and printing only.

Exit codes: 0 done; 1 not found, or failed; 2 wrong usage; 130 interrupted.
With ``--json``, standard output holds one JSON document and nothing else.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from cachekit import __version__
from cachekit.cli.failing import Wrapped, words_of
from cachekit.cli.groups import HintingGroup
from cachekit.errors import CacheKitError
from cachekit.pipelines import PIPELINES

# The commands by what they are for, and the modules that they are in.
SECTIONS: dict[str, dict[str, str]] = {
    "Look": {
        "ls": "listing",
        "info": "listing",
        "show": "showing",
        "du": "accounting",
        "stats": "accounting",
    },
    "Explain": {"why": "explaining", "diff": "explaining", "graph": "lineage"},
    "Tidy": {
        "rm": "tidying",
        "pin": "tidying",
        "unpin": "tidying",
        "prune": "tidying",
        "sweep": "tidying",
        "accept": "accepting",
    },
    "Runs": {"runs": "runs", "repro": "reproducing", "checklist": "reproducing"},
    "Check": {"verify": "checking", "doctor": "checking"},
    "Move": {
        "export": "moving",
        "import": "moving",
        "push": "moving",
        "pull": "moving",
        "sync": "moving",
    },
}

# Where the context keeps what was typed.
_TYPED = f"{__name__}.typed"


class _Group(HintingGroup):
    """The commands, each imported when it is asked for.

    Their errors are a sentence on standard error and exit code 1.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        listed = [name for section in SECTIONS.values() for name in section]
        return [*listed, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        for section in SECTIONS.values():
            if name in section:
                module = import_module(f"cachekit.cli.{section[name]}")
                command: click.Command = getattr(
                    module, f"{name}_" if iskeyword(name) else name
                )
                return command
        return super().get_command(ctx, name)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        sections = {title: [*names] for title, names in SECTIONS.items()}
        sections["Run"] = [*self.commands]
        for title, names in sections.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name, one.get_short_help_str(65))
                        for name, one in commands
                        if one
                    ]
                )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader has left, as in `cachekit ls | head`
            raise
        except click.ClickException as error:
            raise Wrapped(error) from error
        except (CacheKitError, OSError) as error:
            text = words_of(error, ctx.meta[_TYPED])
            raise Wrapped(click.ClickException(text)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)


class _Pipelines(HintingGroup):
    """The bundled pipelines, each imported when it is asked for."""

    kind = "pipeline"

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(PIPELINES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in PIPELINES:
            return None
        module = import_module(f"cachekit.pipelines.{name}.__main__")
        command: click.Command = module.main
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Pipelines"):
            formatter.write_dl(sorted(PIPELINES.items()))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cachekit")
def main() -> None:
    """Look into a cache, and run cached analyses.

    Exit codes: 0 done, 1 not found or failed, 2 wrong usage.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A narrow terminal encoding shows some characters as \\x…, and goes on.
        sys.stdout.reconfigure(errors="backslashreplace")


@main.group(cls=_Pipelines)
def run() -> None:
    """Run a bundled pipeline; its calls are cached."""
