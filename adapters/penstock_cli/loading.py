"""``penstock load``: check the options, run the load, and print the figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from penstock_cli.load_output import live_line, table_of
from penstock_cli.terminal import make_console
from penstock_load import (
    VERSION,
    CallerOptions,
    LatencyHistogram,
    LoadError,
    LoadSettings,
    LoadTally,
    RequestMix,
    ServerAddress,
    address_of,
    check_client,
    figures_of,
    header_of,
    raise_descriptor_limit,
    read_body,
    read_mix,
    request_bytes,
    run_load,
    tls_context,
)

EXIT_INVALID = 1
EXIT_INTERRUPTED = 130
STDOUT = "-"
_CLEAR_LINE = "\r\x1b[K"


class LoadUsageError(click.ClickException):
    """The load cannot be sent as the command line asks for it; exit code 2."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The options of the command line, named as there."""

    url: str
    rate: float | None
    ramp: tuple[float, float] | None
    duration: float
    patience: float
    poisson: bool
    stream: bool
    method: str | None
    headers: tuple[str, ...]
    data: str | None
    data_file: Path | None
    mix: Path | None
    seed: int
    connections: int
    no_keep_alive: bool
    through_client: bool
    unix_socket: str | None
    cacert: str | None
    insecure: bool
    json_file: str | None
    compare: Path | None
    is_mine: bool


def load_server(asked: LoadOptions) -> NoReturn:
    """Run the load, and print its figures to stdout.

    Raises
    ------
    LoadUsageError
        With exit code 2 and before anything is sent, if an option cannot be used.
    SystemExit
        With the exit code, otherwise.
    """
    try:
        settings = _settings(asked)
    except LoadError as error:
        raise LoadUsageError(f"{error}.") from None
    before = None if asked.compare is None else _read_figures(asked.compare)
    if asked.json_file not in {None, STDOUT}:
        _check_writable(Path(str(asked.json_file)))
    raise_descriptor_limit()
    tally, is_interrupted = run_load(settings, _watcher(settings))
    figures = figures_of(tally, _described(asked), is_interrupted=is_interrupted)
    make_console(stderr=asked.json_file == STDOUT).print(table_of(figures, tally.latency, before))
    if asked.json_file is not None:
        _write(json.dumps(figures, indent=1), asked.json_file)
    sys.exit(EXIT_INTERRUPTED if is_interrupted else 0 if figures["valid"] else EXIT_INVALID)


def _settings(asked: LoadOptions) -> LoadSettings:
    if (asked.rate is None) == (asked.ramp is None):
        raise LoadError("give the rate, either as --rate NUMBER or as --ramp A:B")
    address = address_of(asked.url, unix_socket=asked.unix_socket)
    if not (address.is_own or asked.is_mine):
        raise LoadError(
            f"{address.authority} is not this machine, and a load may take a server down; if the server is yours, add "
            "--yes-this-host-is-mine"
        )
    mix = _mix(asked, address)
    if asked.through_client:
        _check_through_client(asked)
        check_client(mix)
    start, end = asked.ramp or (asked.rate or 0.0, None)
    return LoadSettings(
        address=address,
        mix=mix,
        callers=CallerOptions(
            patience=asked.patience,
            is_stream=asked.stream,
            keeps_alive=not asked.no_keep_alive,
            most_connections=asked.connections,
        ),
        rate=start,
        end_rate=end,
        seconds=asked.duration,
        is_random=asked.poisson,
        seed=asked.seed,
        tls=tls_context(ca_file=asked.cacert, verifies=not asked.insecure) if address.is_secure else None,
        through_client=asked.through_client,
    )


def _check_through_client(asked: LoadOptions) -> None:
    for option, is_given in {"--no-keep-alive": asked.no_keep_alive, "--unix-socket": asked.unix_socket}.items():
        if is_given:
            raise LoadError(f"{option} cannot be used with --through-client; leave one of them out")


def _mix(asked: LoadOptions, address: ServerAddress) -> RequestMix:
    headers = dict(map(header_of, asked.headers))
    one = {"--request": asked.method, "--data": asked.data, "--data-file": asked.data_file}
    if asked.mix is not None:
        if named := [option for option, value in one.items() if value is not None]:
            raise LoadError(f"{' and '.join(named)} cannot be used with --mix; write it into {asked.mix}")
        return read_mix(asked.mix, address.authority, address.path, headers)
    if asked.data is not None and asked.data_file is not None:
        raise LoadError("give the body once, either as --data or as --data-file")
    body = None if asked.data is None else asked.data.encode("utf-8", "surrogateescape")
    if asked.data_file is not None:
        body = read_body(asked.data_file)
    method = asked.method or ("GET" if body is None else "POST")
    return RequestMix([request_bytes(method, address.authority, address.path, headers, body)])


def _described(asked: LoadOptions) -> dict[str, Any]:
    """Return the options that decide the figures; headers and bodies may be secret, and are left out."""
    return {
        "url": asked.url,
        "rate": asked.rate,
        "ramp": asked.ramp and list(asked.ramp),
        "duration": asked.duration,
        "patience": asked.patience,
        "poisson": asked.poisson,
        "stream": asked.stream,
        "mix": asked.mix and str(asked.mix),
        "seed": asked.seed,
        "connections": asked.connections,
        "keep_alive": not asked.no_keep_alive,
        "through_client": asked.through_client,
    }


def _watcher(settings: LoadSettings) -> Callable[[LoadTally, int, float], None] | None:
    if not sys.stderr.isatty():
        return None

    def watch(tally: LoadTally, in_flight: int, elapsed: float) -> None:
        line = "" if elapsed < 0 else live_line(tally, in_flight, min(elapsed, settings.seconds), settings.seconds)
        print(_CLEAR_LINE + line, end="", file=sys.stderr, flush=True)

    return watch


def _read_figures(file: Path) -> dict[str, Any]:
    try:
        figures: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise LoadUsageError(f"cannot read {file}: {error}.") from None
    try:
        if figures["penstock_load"] != VERSION:
            raise ValueError("of another version")
        LatencyHistogram.from_document(figures["histograms"]["latency"])
    except (KeyError, TypeError, ValueError):
        raise LoadUsageError(f"{file} was not written by penstock load --json of this version.") from None
    return {"outcomes": {}, "settings": {}} | figures


def _check_writable(file: Path) -> None:
    try:
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise LoadUsageError(f"cannot write {file}: {error}.") from None


def _write(text: str, name: str) -> None:
    if name == STDOUT:
        print(text)
        return
    try:
        Path(name).write_text(text + "\n", encoding="utf-8")
    except OSError as error:  # the figures have been printed
        raise LoadUsageError(f"cannot write {name}: {error}.") from None
