"""The commands: Penstock's own, and those that plug-ins add by the hook ``penstock_cli_commands``."""

from __future__ import annotations

import contextlib
import sys

import click

_META = "penstock_cli.commands"


class PluginGroup(click.Group):
    """Looks for plug-ins only where a command is not one of its own, and for ``--help``.

    So ``serve`` does not pay for them twice. A plug-in that is broken takes its commands with it, and no others.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or None. A plug-in cannot replace one that is there."""
        own = super().get_command(ctx, cmd_name)
        return own if own is not None else self._added(ctx).get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self._added(ctx)})

    def _added(self, ctx: click.Context) -> dict[str, click.Command]:
        if _META not in ctx.meta:
            ctx.meta[_META] = _commands_of_plugins()
        added: dict[str, click.Command] = ctx.meta[_META]
        return added


def _commands_of_plugins() -> dict[str, click.Command]:
    from penstock.errors import PluginError  # noqa: PLC0415 - a command of our own need not pay for it
    from penstock.hosting import Registry  # noqa: PLC0415 - likewise

    try:
        with contextlib.redirect_stdout(sys.stderr):  # a shell completes from what is on stdout
            registry = Registry.survey()
            commands = registry.cli_commands()
    except PluginError as error:
        click.echo(f"penstock: no commands of plug-ins: {error}", err=True)
        return {}
    for plugin in registry.plugins:
        if plugin.state == "broken":
            click.echo(f"penstock: no commands of {plugin}: {plugin.why}", err=True)
    return {command.name: command for command in reversed(commands)}  # what counts most comes first, and stays
