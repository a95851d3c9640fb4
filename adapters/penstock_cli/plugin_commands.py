"""Penstock's own commands, together with those that plug-ins add through the hook ``penstock_cli_commands``."""

from __future__ import annotations

import contextlib
import sys

import click

_META = "penstock_cli.plugin_commands"


class PluginGroup(click.Group):
    """A command group that loads plug-ins only for ``--help`` and for commands it does not have itself.

    This way ``serve`` does not load them twice. A broken plug-in loses its own commands and no others.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or None. A plug-in cannot replace one of Penstock's own."""
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
    from penstock.errors import PluginError  # noqa: PLC0415 - our own commands do not need it
    from penstock.hosting import Registry  # noqa: PLC0415 - our own commands do not need it

    try:
        with contextlib.redirect_stdout(sys.stderr):  # shell completion reads stdout
            registry = Registry.survey()
            commands = registry.cli_commands()
    except PluginError as error:
        click.echo(f"penstock: no commands from plug-ins: {error}", err=True)
        return {}
    for plugin in registry.plugins:
        if plugin.state == "broken":
            click.echo(f"penstock: no commands from {plugin}: {plugin.why}", err=True)
    return {
        command.name: command for command in reversed(commands)
    }  # in falling precedence, so the first of a name wins
