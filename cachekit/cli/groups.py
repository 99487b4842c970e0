"""Groups of commands that say what a misspelt name may have meant."""

from __future__ import annotations

import click

from cachekit.texts import hint_for


class HintingGroup(click.Group):
    """A group of commands; a misspelt one is told with those that are like it."""

    # What a name in the group stands for.
    kind = "command"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named, as click does."""
        name = args[0]
        is_option = name.startswith("-")
        is_known = is_option or self.get_command(ctx, name) is not None
        if not is_known and not ctx.resilient_parsing:
            hint = hint_for(name, self.list_commands(ctx))
            ctx.fail(f"no such {self.kind} {name!r}{hint}")
        return super().resolve_command(ctx, args)
