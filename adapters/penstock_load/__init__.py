"""An open-loop load generator for HTTP servers.

The pure parts: ``arrivals`` (the schedule), ``LatencyHistogram``, ``ResponseReader``, ``LoadTally`` and ``figures_of``.
``LoadGenerator`` does the I/O, and ``run_load`` runs it. Nothing here imports the rest of Penstock.
"""

from penstock_load.arrivals import arrivals
from penstock_load.input_errors import LoadError
from penstock_load.latency_histogram import LARGEST_ERROR, LatencyHistogram
from penstock_load.load_callers import MOST_CONNECTIONS, CallerOptions
from penstock_load.load_figures import LINES, VERSION, FigureLine, bars, figure, figures_of, ratio
from penstock_load.load_generator import LoadGenerator
from penstock_load.load_runs import LoadSettings, check_client, raise_descriptor_limit, run_load
from penstock_load.load_tally import LoadTally
from penstock_load.request_mix import (
    PreparedRequest,
    RequestMix,
    header_of,
    read_body,
    read_mix,
    request_bytes,
)
from penstock_load.response_reader import MalformedResponseError, ResponseReader
from penstock_load.server_address import ServerAddress, address_of, tls_context
from penstock_load.shots import Fate, Shot

__all__ = [
    "LARGEST_ERROR",
    "LINES",
    "MOST_CONNECTIONS",
    "VERSION",
    "CallerOptions",
    "Fate",
    "FigureLine",
    "LatencyHistogram",
    "LoadError",
    "LoadGenerator",
    "LoadSettings",
    "LoadTally",
    "MalformedResponseError",
    "PreparedRequest",
    "RequestMix",
    "ResponseReader",
    "ServerAddress",
    "Shot",
    "address_of",
    "arrivals",
    "bars",
    "check_client",
    "figure",
    "figures_of",
    "header_of",
    "raise_descriptor_limit",
    "ratio",
    "read_body",
    "read_mix",
    "request_bytes",
    "run_load",
    "tls_context",
]
