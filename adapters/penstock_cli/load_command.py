"""The options of ``penstock load``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from penstock_cli.serve_options import seconds_option

MOST_RATE = 1e6
_FILE = click.Path(dir_okay=False, path_type=Path)


class RateOption(click.ParamType[float]):
    """A positive number of requests per second."""

    name = "rate"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the rate, or fail with a message that shows the format."""
        rate = _number(str(value))
        if not 0 < rate <= MOST_RATE:
            self.fail(f"{value!r} is not a rate; give a positive number of requests per second.", param, ctx)
        return rate


class RampOption(click.ParamType[tuple[float, float]]):
    """The rates at the start and at the end: ``10:500``."""

    name = "ramp"

    def convert(
        self, value: str | tuple[float, float], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Return both rates, or fail with a message that shows the format."""
        if isinstance(value, tuple):
            return value
        start, colon, end = value.partition(":")
        rates = _number(start), _number(end)
        if not colon or not all(0 <= rate <= MOST_RATE for rate in rates) or not any(rates):
            self.fail(f"{value!r} is not a ramp; write the rates at the start and the end, such as 10:500.", param, ctx)
        return rates


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@click.command("load")
@click.argument("url")
@click.option("--rate", type=RateOption(), metavar="NUMBER", help="Requests per second.")
@click.option("--ramp", type=RampOption(), metavar="A:B", help="Change the rate from A to B per second, linearly.")
@seconds_option("--duration", 10.0, "The time during which requests are sent.", cls=click.Option)
@seconds_option(
    "--patience",
    10.0,
    "The time after which a caller gives up and hangs up; for streams, the longest wait for a chunk.",
    cls=click.Option,
)
@click.option("--poisson", is_flag=True, help="Send at random times, as independent callers do; not evenly spaced.")
@click.option("--stream", is_flag=True, help="The responses are streams: measure the first chunk and the gaps.")
@click.option("-X", "--request", "method", metavar="METHOD", help="The method.  [default: GET, or POST with data]")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header. May be repeated.")
@click.option("-d", "--data", metavar="TEXT", help="The body: JSON, unless a header says otherwise.")
@click.option("--data-file", type=_FILE, metavar="FILE", help="A file with the body.")
@click.option(
    "--mix",
    type=_FILE,
    metavar="FILE",
    help="Requests of several kinds: lines of JSON with method, path, headers, body or body_file, and weight.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The seed of random times, and of the choice from --mix."
)
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="The most connections at once. A request that finds none is not sent, and the run is invalid.",
)
@click.option("--no-keep-alive", is_flag=True, help="Use a new connection for each request.")
@click.option(
    "--through-client",
    is_flag=True,
    help="Send with penstock-client, and measure with its retries, its budget and its breaker.",
)
@click.option("--unix-socket", metavar="PATH", help="Connect to this Unix socket, not to the host of the URL.")
@click.option("--cacert", metavar="FILE", help="Trust the certificates in this PEM file.")
@click.option("-k", "--insecure", is_flag=True, help="Accept any certificate.")
@click.option(
    "--json", "json_file", metavar="FILE", help="Write everything to this file; - writes it to standard output."
)
@click.option("--compare", type=_FILE, metavar="FILE", help="Show each figure beside that of an earlier --json.")
@click.option("--yes-this-host-is-mine", "is_mine", is_flag=True, help="Send load to a host that is not this machine.")
def load(**options: Any) -> None:
    """Send requests to URL at a fixed rate, and measure the answers.

    Requests are sent at their times, whatever has become of the earlier ones, and their latency counts from these
    times. The exit code is 1 if the generator itself was late, so that the run is invalid, and 130 after Ctrl-C.
    """
    from penstock_cli.loading import LoadOptions, load_server  # noqa: PLC0415 - each command imports only what it needs

    load_server(LoadOptions(**options))
