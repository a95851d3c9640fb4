"""Options of ``penstock serve`` that the environment can set, and the answers to options that do not exist."""

from __future__ import annotations

from typing import Any, Final

import click

ELSEWHERE: Final = {
    "--workers": "for HTTP processes use --http-workers; set the number of model workers in the app, "
    "endpoint(workers=...)",
    "--uds": "use an address, --host and --port",
    "--bind": "use --host and --port",
    "--certfile": "put a proxy that ends TLS in front; --trusted-proxy names it",
    "--keyfile": "put a proxy that ends TLS in front; --trusted-proxy names it",
    "--reload": "send SIGHUP to the server, which loads the app again without refusing a request",
    "--timeout": "set limits in the app, endpoint(timeouts=...), or for slow clients with --header-timeout and "
    "--body-timeout",
    "--root-path": "endpoints are found without a prefix; a proxy may remove it, or a framework mount the app",
}
"""Options of other servers, each with the way to get the same here."""


class VariableOption(click.Option):
    """An option that the environment may set too: ``--log-level`` is ``PENSTOCK_LOG_LEVEL``."""

    def __init__(self, declarations: list[str], **attributes: Any) -> None:
        name = declarations[0].removeprefix("--").replace("-", "_").upper()
        super().__init__(declarations, envvar=f"PENSTOCK_{name}", show_envvar=True, **attributes)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the variable's value.

        Kubernetes sets ``PENSTOCK_PORT=tcp://10.0.0.1:80`` for a service called "penstock", which is ignored.
        """
        value = super().resolve_envvar_value(ctx)
        return None if value is not None and "://" in value else value


def explained(error: click.NoSuchOption) -> click.NoSuchOption:
    """Return the error for an unknown option, with the way to get the same if it is one of another server."""
    advice = ELSEWHERE.get(error.option_name)
    if advice is None:
        return error
    return click.NoSuchOption(error.option_name, f"There is no {error.option_name}: {advice}.", ctx=error.ctx)
