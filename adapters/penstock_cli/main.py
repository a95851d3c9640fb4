"""``penstock``: its commands and their options.

Exit codes: 0 success; 1 ``plugins`` found a broken plug-in, ``reload`` or ``call`` failed, or a run of ``load`` is
invalid; 2 the command line, what it names (an address, a certificate, a file) or the app that TARGET names cannot be
used; 130 Ctrl-C has ended ``call`` or ``load``.
``penstock_gunicorn`` documents the exit codes of a server that ran.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import click

from penstock_cli.app_arguments import AppCommand
from penstock_cli.early_signals import die_of_stop_signals
from penstock_cli.load_command import load
from penstock_cli.plugin_commands import PluginGroup
from penstock_cli.serve_options import (
    SocketMode,
    VariableOption,
    clean_root_path,
    grpc_installed,
    listen_addresses,
    seconds_option,
    settle_conflicts,
    watching_installed,
)
from penstock_cli.sizes import ByteSize


def _version() -> str:
    try:
        return importlib.metadata.version("penstock")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout, through PYTHONPATH
        return "(not installed)"


def _name_config(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    from penstock.hosting import CONFIG_VARIABLE  # noqa: PLC0415 - the help does not need the engine

    if value is not None:
        # The registry looks for it there, in every process.
        os.environ[CONFIG_VARIABLE] = str(value.resolve())


config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_name_config,
    expose_value=False,
    help="The TOML file with the settings of plug-ins, in tables [tool.penstock.NAME].  [default: pyproject.toml]",
)


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="penstock")
def cli() -> None:
    """Serve Python models over HTTP and keep their deadlines.

    TARGET is MODULE:APP or path/to/file.py:APP. :APP may be omitted if there is only one app. Modules are also looked
    up in the current folder.
    """


@cli.command(cls=AppCommand)
@click.argument("target")
@click.option("--host", cls=VariableOption, default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    cls=VariableOption,
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on; 0 picks a free one.",
)
@click.option(
    "--bind",
    cls=VariableOption,
    multiple=True,
    metavar="ADDRESS",
    callback=listen_addresses,
    help="An address to listen on, in place of --host and --port: HOST:PORT, [IPV6]:PORT, unix:PATH, unix:@NAME or "
    "fd://NUMBER. May be repeated.",
)
@click.option(
    "--grpc-port",
    cls=VariableOption,
    type=click.IntRange(0, 65535),
    callback=grpc_installed,
    help="Serve gRPC too, on this port; 0 picks a free one.",
)
@click.option(
    "--grpc-host", cls=VariableOption, metavar="HOST", help="The address to listen on for gRPC.  [default: as --host]"
)
@click.option(
    "--socket-mode",
    cls=VariableOption,
    type=SocketMode(),
    default="660",
    show_default=True,
    help="The permissions of the Unix sockets of --bind.",
)
@click.option(
    "--certfile", cls=VariableOption, metavar="FILE", help="Serve HTTPS with the certificate in this PEM file."
)
@click.option(
    "--keyfile", cls=VariableOption, metavar="FILE", help="The key of the certificate.  [default: in the same file]"
)
@click.option(
    "--root-path",
    cls=VariableOption,
    default="",
    metavar="PATH",
    callback=clean_root_path,
    help="The path under which a proxy serves the app. It is removed from paths that begin with it.",
)
@click.option(
    "--reload",
    cls=VariableOption,
    is_flag=True,
    callback=watching_installed,
    help="Load the app again when its code changes. For development; the old code serves until the new is ready.",
)
@click.option(
    "--gunicorn-config",
    cls=VariableOption,
    metavar="FILE",
    help="A Python file with settings and hooks of gunicorn, which serves HTTP.",
)
@click.option(
    "--debug", cls=VariableOption, is_flag=True, help="Include exceptions of handlers in responses. Not for production."
)
@click.option(
    "--compress/--no-compress",
    cls=VariableOption,
    default=False,
    show_default=True,
    help="Compress responses from 1 KiB on for clients that accept it.",
)
@click.option(
    "--docs/--no-docs",
    cls=VariableOption,
    default=None,
    help="Serve the page /docs and its /openapi.json.  [default: only if all addresses are of this machine, and no "
    "proxy is named]",
)
@click.option(
    "--log-format", cls=VariableOption, type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option(
    "--log-level",
    cls=VariableOption,
    type=click.Choice(["debug", "info", "warning", "error", "critical"]),
    default="info",
    show_default=True,
    help="The lowest level of log lines to write.",
)
@seconds_option(
    "--drain-timeout",
    30.0,
    "The time for admitted work after SIGTERM or Ctrl-C. A second Ctrl-C stops immediately.",
    may_be_zero=True,
)
@click.option(
    "--max-body",
    cls=VariableOption,
    type=ByteSize(),
    default="16MiB",
    show_default=True,
    help="The largest request body accepted, such as 1048576, 64KiB or 16MiB.",
)
@click.option(
    "--spill-above",
    cls=VariableOption,
    type=ByteSize(),
    default="64MiB",
    show_default=True,
    help="Keep larger request bodies on a disk (in TMPDIR), not in memory.",
)
@click.option(
    "--max-waiting",
    cls=VariableOption,
    type=ByteSize(),
    help="The most that request bodies may have together while they arrive and wait.  "
    "[default: 256MiB, or 4 times --max-body]",
)
@seconds_option("--header-timeout", 10.0, "The time in which the head of a request must arrive.")
@seconds_option("--body-timeout", 10.0, "The time over which the rate of an upload is measured.")
@click.option(
    "--min-body-rate",
    cls=VariableOption,
    type=ByteSize(),
    default="1KiB",
    show_default=True,
    help="The lowest rate of an upload, in bytes per second.",
)
@click.option(
    "--max-unread",
    cls=VariableOption,
    type=ByteSize(),
    default="256MiB",
    show_default=True,
    help="The most that is held of responses for clients that read slowly; beyond it, the slowest are cut off.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    cls=VariableOption,
    multiple=True,
    metavar="NETWORK",
    help='Trust X-Forwarded-For from a proxy at this address or in this network, or at a Unix socket ("unix"). '
    "May be repeated.",
)
@click.option(
    "--start-method",
    cls=VariableOption,
    type=click.Choice(["auto", "fork", "fresh"]),
    help="The way workers start; see App(start_method=).  [default: the app's own]",
)
@click.option(
    "--http-workers",
    cls=VariableOption,
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="The number of HTTP processes. Several share one engine. For more model workers see endpoint(workers=).",
)
@click.option(
    "--pid-file",
    cls=VariableOption,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the process ID of the server to this file while it runs.",
)
@config_option
@click.pass_context
def serve(context: click.Context, /, **options: Any) -> None:
    """Serve the app TARGET over HTTP.

    In every process, the app's sys.argv is its file, followed by the arguments after "--".
    """
    from penstock_cli.serving import ServeOptions, serve_app  # noqa: PLC0415 - each command imports only what it needs

    settle_conflicts(context, options)
    serve_app(ServeOptions(**options))


@cli.command(cls=AppCommand)
@click.argument("target")
@click.argument("endpoint")
@click.argument("input", required=False)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="The time for the call, once the app has started.  [default: the endpoint's own]",
)
@config_option
def call(target: str, endpoint: str, input: str | None, timeout: float | None, arguments: tuple[str, ...]) -> None:
    """Run one call of the app TARGET without a server.

    ENDPOINT is the path or the name of an endpoint; INPUT is the body that a client would send, or - to read it from
    stdin. The result is printed to stdout as a client would receive it: JSON, lines of JSON for a stream, or bytes. If
    the call fails, the exit code is 1, and stderr has the reason.
    """
    from penstock_cli.calling import call_app  # noqa: PLC0415 - each command imports only what it needs

    call_app(target, endpoint, input, arguments, timeout=timeout)


cli.add_command(load)


def _printable(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (value.strip() and value.isprintable()):
        raise click.BadParameter("give a name on one line.")
    return value


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", callback=_printable, help="The name of the project.  [default: that of the folder]")
def init(folder: Path, name: str | None) -> None:
    """Write a small project into DIR, a new or an empty folder.

    It has an app, a test and a Dockerfile, and works as it is.
    """
    from penstock_cli.initializing import init_project  # noqa: PLC0415 - each command imports only what it needs

    init_project(folder, name)


@cli.command("reload")
@click.option("--pid-file", cls=VariableOption, type=click.Path(path_type=Path), help="The file with its process ID.")
@click.option("--pid", type=click.IntRange(min=1), help="Its process ID.")
@seconds_option("--timeout", 600.0, "The time after which to stop waiting for the new code.", cls=click.Option)
def reload_(pid_file: Path | None, pid: int | None, timeout: float) -> None:
    """Have a running server load its code again.

    The command waits until the new code serves. If it cannot be loaded or set up, the old code goes on serving, and the
    exit code is 1.
    """
    from penstock_cli.reloading import reload_server  # noqa: PLC0415 - each command imports only what it needs

    reload_server(None if pid is not None else pid_file, pid, timeout)


@cli.command(cls=AppCommand)
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def check(target: str, as_json: bool, arguments: tuple[str, ...]) -> None:  # noqa: FBT001 - click passes it by name
    """Validate the app TARGET and print its endpoints.

    Nothing is started.
    """
    from penstock_cli.checking import check_app  # noqa: PLC0415 - each command imports only what it needs

    check_app(target, arguments, as_json=as_json)


@cli.command(cls=AppCommand)
@click.argument("target")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.  [default: standard output]"
)
@click.option("--server", metavar="URL", default="/", show_default=True, help="The address of the server.")
@config_option
def openapi(target: str, output: Path | None, server: str, arguments: tuple[str, ...]) -> None:
    """Write the OpenAPI document of the app TARGET.

    Nothing is started.
    """
    from penstock_cli.describing import write_openapi  # noqa: PLC0415 - each command imports only what it needs

    write_openapi(target, arguments, output, server)


@cli.command(cls=AppCommand)
@click.argument("target")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; it is overwritten only if this command has written it.  [default: standard output]",
)
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header for the server. May be repeated.",
)
@config_option
def client(target: str, output: Path | None, headers: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Write a Python module that calls the app TARGET, with a class for each of its types.

    TARGET may also be the URL of a running server, or the file of an OpenAPI document (.json). The module has a client
    and an async client with a method for each endpoint, and needs penstock-client.
    """
    from penstock_cli.generating import write_client  # noqa: PLC0415 - each command imports only what it needs

    write_client(target, arguments, output, headers)


@cli.command(cls=AppCommand)
@click.argument("target", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def plugins(target: str | None, as_json: bool, arguments: tuple[str, ...]) -> None:  # noqa: FBT001 - click passes it by name
    """List the plug-ins with their hooks and settings.

    With TARGET, the plug-ins of the app are listed too. The exit code is 1 if a server could not start with them.
    """
    from penstock_cli.plugin_listing import list_plugins  # noqa: PLC0415 - each command imports only what it needs

    list_plugins(target, arguments, as_json=as_json)


def main() -> None:
    """Run the command line with the arguments of this process."""
    if sys.platform == "win32":
        print("penstock: Windows is not supported; use Linux, or the Windows Subsystem for Linux.", file=sys.stderr)
        sys.exit(2)
    die_of_stop_signals()
    cli(prog_name="penstock")
