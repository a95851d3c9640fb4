"""One run of the load generator from its settings to its tally, in an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from penstock_load.arrivals import arrivals
from penstock_load.input_errors import LoadError
from penstock_load.load_callers import CallerOptions
from penstock_load.load_generator import LoadGenerator
from penstock_load.load_tally import LoadTally
from penstock_load.request_mix import RequestMix
from penstock_load.server_address import ServerAddress

if TYPE_CHECKING:  # penstock_client is optional
    from penstock_load.client_generator import ClientGenerator

Watch: TypeAlias = Callable[[LoadTally, int, float], None]
"""Called with the tally so far, the number of requests in flight, and the seconds since the start; -1 at the end."""
_LEAD_SECONDS = 0.02  # so that the first request is not late for the start of the loop
_TICK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """Everything that decides a run.

    Parameters
    ----------
    address:
        The server.
    mix:
        The requests.
    callers:
        The behaviour of the callers.
    rate, end_rate:
        Requests per second at the start and at the end; if ``end_rate`` is None, they are the same.
    seconds:
        The time during which requests are sent.
    is_random:
        Requests come at random times, not evenly spaced.
    seed:
        The seed of the random times, and of the choice from the mix.
    tls:
        The context of TLS connections; None without TLS.
    through_client:
        Requests are calls of ``penstock_client``, which must be installed; see ``check_client``.
    """

    address: ServerAddress
    mix: RequestMix
    callers: CallerOptions
    rate: float
    end_rate: float | None = None
    seconds: float
    is_random: bool = False
    seed: int = 1
    tls: ssl.SSLContext | None = None
    through_client: bool = False

    def times(self) -> Iterator[float]:
        """Return the times of the requests in seconds after the start."""
        dice = random.Random(self.seed) if self.is_random else None  # noqa: S311 - a load, not a secret
        return arrivals(self.rate, self.seconds, end_rate=self.end_rate, dice=dice)


def run_load(settings: LoadSettings, watch: Watch | None = None) -> tuple[LoadTally, bool]:
    """Run it; return the tally, and whether Ctrl-C has ended the run early.

    Parameters
    ----------
    settings:
        The settings of the run.
    watch:
        Called twice a second.
    """
    clock = time.perf_counter
    tally = LoadTally(clock() + _LEAD_SECONDS, settings.seconds, are_streams=settings.callers.is_stream)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(settings, tally, watch, clock))
    except KeyboardInterrupt:
        return tally, True
    return tally, False


async def _run(
    settings: LoadSettings,
    tally: LoadTally,
    watch: Watch | None,
    clock: Callable[[], float],
) -> None:
    make = _client_generator() if settings.through_client else LoadGenerator
    generator = make(settings.address, settings.callers, tally.record, tls=settings.tls, clock=clock)
    tally.begin = clock() + _LEAD_SECONDS
    choose = settings.mix.chooser(random.Random(settings.seed))  # noqa: S311 - a load, not a secret
    ticking = None if watch is None else asyncio.create_task(_tick(watch, tally, generator, clock))
    try:
        await generator.run(tally.begin, settings.times(), choose)
    except asyncio.CancelledError:
        tally.stop(clock())
        raise
    finally:
        if ticking is not None and watch is not None:
            ticking.cancel()
            watch(tally, 0, -1.0)


def _client_generator() -> type[ClientGenerator]:
    from penstock_load.client_generator import ClientGenerator  # noqa: PLC0415 - penstock_client is optional

    return ClientGenerator


def check_client(mix: RequestMix) -> None:
    """Check that the requests can be sent through ``penstock_client``.

    Raises
    ------
    LoadError
        If it is not installed, or does not send one of the headers.
    """
    try:
        _client_generator()
    except ImportError as error:
        raise LoadError(
            f"--through-client needs penstock-client, which cannot be imported ({error}); install it with "
            "pip install penstock-client"
        ) from None
    for request in mix.requests:
        for name, value in request.headers:
            if not (value and value.isascii() and value.isprintable() and value == value.strip()):
                raise LoadError(f"penstock-client does not send the header {name} with this value")


async def _tick(
    watch: Watch, tally: LoadTally, generator: LoadGenerator | ClientGenerator, clock: Callable[[], float]
) -> None:
    while True:
        watch(tally, generator.in_flight, max(0.0, clock() - tally.begin))
        await asyncio.sleep(_TICK_SECONDS)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - it is optional
    except ImportError:
        return None
    return uvloop.new_event_loop


def raise_descriptor_limit() -> None:
    """Raise this process's limit of open files as far as it may be: each connection needs one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
