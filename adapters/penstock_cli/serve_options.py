"""Options of ``penstock serve`` that the environment can set, and the answers to options that do not exist."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

ELSEWHERE: Final = {
    "--workers": "for HTTP processes use --http-workers; set the number of model workers in the app, "
    "endpoint(workers=...)",
    "--uds": "use --bind unix:PATH",
    "--fd": "use --bind fd://NUMBER",
    "--ssl-certfile": "use --certfile",
    "--ssl-keyfile": "use --keyfile",
    "--timeout": "set limits in the app, endpoint(timeouts=...), or for slow clients with --header-timeout and "
    "--body-timeout",
    "--daemon": "leave that to whatever starts the server, such as systemd or a container",
}
"""Options of other servers, each with the way to get the same here."""

# The variables of a Kubernetes service called "penstock": PENSTOCK_PORT=tcp://10.0.0.1:80, for example.
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://.*")
GRPC_PACKAGES: Final = ("grpc", "grpc_health", "grpc_reflection", "google.rpc")
_SEPARATOR = re.compile(r"[,\s]+")
_ROOT_PATH = re.compile(r"(/[\w.~-]+)*", re.ASCII)


class VariableOption(click.Option):
    """An option that the environment may set too: ``--log-level`` is ``PENSTOCK_LOG_LEVEL``.

    A switch has one variable for both of its values: ``--docs/--no-docs`` is ``PENSTOCK_DOCS``, which is 1 or 0.
    """

    def __init__(self, declarations: list[str], **attributes: Any) -> None:
        name = declarations[0].partition("/")[0].removeprefix("--").replace("-", "_").upper()
        super().__init__(declarations, envvar=f"PENSTOCK_{name}", show_envvar=True, **attributes)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the variable's value, unless it is one that Kubernetes sets for a service."""
        value = super().resolve_envvar_value(ctx)
        return None if value is not None and _SERVICE_URL.fullmatch(value) else value

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the value; an option that may be repeated has several, separated by commas."""
        value = self.resolve_envvar_value(ctx)
        if value is None or not self.multiple:
            return super().value_from_envvar(ctx)
        return [part for part in _SEPARATOR.split(value) if part]


class SocketMode(click.ParamType[int]):
    """The permissions of a file as an octal number: ``660``."""

    name = "mode"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the permissions, or fail with a message that shows the format."""
        if isinstance(value, int):
            return value
        if not re.fullmatch("0?[0-7]{3}", value):
            self.fail(f"{value!r} is not a mode; write three octal digits, such as 660.", param, ctx)
        return int(value, 8)


def seconds_option(
    name: str, default: float, text: str, *, may_be_zero: bool = False, cls: type[click.Option] = VariableOption
) -> Callable[[F], F]:
    """Return an option that takes seconds."""
    return click.option(
        name,
        cls=cls,
        type=click.FloatRange(min=0, min_open=not may_be_zero),
        default=default,
        show_default=True,
        metavar="SECONDS",
        callback=_finite_seconds,
        help=text,
    )


def _finite_seconds(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter("give seconds as a number.")
    return value


def listen_addresses(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> Any:
    """Return the addresses that the values of ``--bind`` mean; for the option's callback."""
    from penstock_gunicorn import StartError, parse_addresses  # noqa: PLC0415 - the help does not need the server

    try:
        return parse_addresses(texts)
    except StartError as error:
        raise click.BadParameter(f"{error}.") from None


def clean_root_path(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Check a path that a proxy adds in front of all others; for an option's callback."""
    path = value.rstrip("/")
    if not _ROOT_PATH.fullmatch(path):
        raise click.BadParameter(f"{value!r} is not a path such as /models.")
    return path


def watching_installed(_context: click.Context, _parameter: click.Parameter, value: bool) -> bool:  # noqa: FBT001 - click's signature
    """Check that files can be watched, if they are to be; for an option's callback."""
    if value:
        try:
            import watchfiles  # noqa: F401, PLC0415 - only to see whether it is there
        except ImportError:
            raise click.BadParameter("it needs watchfiles; run pip install 'penstock[reload]'.") from None
    return value


def grpc_installed(_context: click.Context, _parameter: click.Parameter, value: int | None) -> int | None:
    """Check that gRPC can be served, if it is to be; for an option's callback."""
    if value is None:
        return None
    # Not imported here: the master, which forks, must have none of gRPC's threads.
    missing = [name for name in GRPC_PACKAGES if not _is_installed(name)]
    if missing:
        raise click.BadParameter(f"it needs {', '.join(missing)}; run pip install 'penstock[grpc]'.")
    return value


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # nor is the package around it
        return False


def settle_conflicts(context: click.Context, options: dict[str, Any]) -> None:
    """Leave one way of naming the address, and check what belongs together.

    The command line overrides the environment: ``--port`` also overrides ``PENSTOCK_BIND``.

    Raises
    ------
    click.UsageError
        For both ways at once, a key without a certificate, ``--reload`` with several HTTP processes, and a host for
        gRPC without its port.
    """
    ranks = {ParameterSource.COMMANDLINE: 2, ParameterSource.ENVIRONMENT: 1}

    def rank(name: str) -> int:
        source = context.get_parameter_source(name)
        return 0 if source is None else ranks.get(source, 0)

    bind, parts = rank("bind"), max(rank("host"), rank("port"))
    if bind and bind == parts:
        raise click.UsageError(
            "--bind names a whole address, --host and --port the parts of one; use one way or the other, on the "
            "command line as in the environment.",
            context,
        )
    if parts > bind:
        options["bind"] = []
    if options["reload"] and options["http_workers"] > 1:
        raise click.UsageError("--reload is for a single HTTP process; leave --http-workers out.", context)
    if options["grpc_host"] and options["grpc_port"] is None:
        raise click.UsageError("--grpc-host needs --grpc-port, without which no gRPC is served.", context)
    if options["keyfile"] and not options["certfile"]:
        raise click.UsageError("--keyfile needs --certfile, with the certificate that the key belongs to.", context)


def explained(error: click.NoSuchOption) -> click.NoSuchOption:
    """Return the error for an unknown option, with the way to get the same if it is one of another server."""
    advice = ELSEWHERE.get(error.option_name)
    if advice is None:
        return error
    return click.NoSuchOption(error.option_name, f"There is no {error.option_name}: {advice}.", ctx=error.ctx)
