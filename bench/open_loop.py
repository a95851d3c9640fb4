"""An open-loop load generator: requests are sent at their times, whatever has become of the earlier ones.

Each request has a connection of its own. Its latency counts from the time at which it was meant to be sent, so a slow
server (or a slow generator) cannot hide waiting time by delaying the requests themselves. The generator records by how
much it was late itself; ``headroom`` measures how far its rate can rise before it is late.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

HOST = "127.0.0.1"
LATE_SECONDS = 0.005
NO_ANSWER, REFUSED = 0, -1


@dataclass(slots=True)
class Shot:
    """One request; times are those of ``perf_counter``.

    Parameters
    ----------
    planned:
        The time at which it was meant to be sent.
    sent:
        The time at which the generator began to connect.
    status:
        The status of the response, 0 without one, and -1 if the connection was refused.
    done:
        The time at which the response was complete, or the caller had hung up.
    body:
        The body of the response.
    """

    planned: float
    sent: float = 0.0
    status: int = NO_ANSWER
    done: float = 0.0
    body: bytes = b""

    @property
    def latency(self) -> float:
        """The seconds from the planned start to the end of the response."""
        return self.done - self.planned


@dataclass
class Volley:
    """All requests of one run."""

    begin: float
    seconds: float
    shots: list[Shot] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        """Return the number of requests by status."""
        return Counter(shot.status for shot in self.shots)

    def answered(self, *, by: float = float("inf")) -> list[Shot]:
        """Return the requests that were answered with 200, no later than ``by``."""
        return [shot for shot in self.shots if shot.status == 200 and shot.done <= by]

    def latency(self, share: float) -> float:
        """Return a quantile of the latencies of the answers with 200; not a number without answers."""
        return quantile([shot.latency for shot in self.answered()], share)

    def lateness(self, share: float) -> float:
        """Return a quantile of the seconds by which the generator itself was late."""
        return quantile([shot.sent - shot.planned for shot in self.shots], share)


def quantile(values: list[float], share: float) -> float:
    """Return a quantile of values; not a number if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def fire(port: int, request: bytes, shot: Shot, patience: float) -> None:
    """Send a request on a new connection; hang up ``patience`` seconds after its time."""
    shot.sent = time.perf_counter()
    writer = None
    try:
        async with asyncio.timeout(shot.planned + patience - shot.sent):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            shot.body = await _body(reader, head.lower())
            shot.status = int(head.split(maxsplit=2)[1])
    except ConnectionRefusedError:
        shot.status = REFUSED
    except (TimeoutError, OSError, EOFError, ValueError):
        pass
    finally:
        shot.done = time.perf_counter()
        if writer is not None:
            writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        return body
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length or 0))


async def offer(
    port: int, request: bytes, *, rate: float, seconds: float, patience: float, seed: int | None = 1
) -> Volley:
    """Send requests at random times with this mean rate, or evenly spaced if ``seed`` is None.

    Parameters
    ----------
    port:
        A port of the loopback address.
    request:
        The bytes of the request.
    rate:
        Requests per second.
    seconds:
        The time during which requests are sent. The last response is awaited afterwards.
    patience:
        The seconds after which a caller hangs up.
    seed:
        The seed of the random times.
    """
    dice = random.Random(seed)
    at = time.perf_counter()
    volley = Volley(at, seconds)
    async with asyncio.TaskGroup() as group:
        while (at := at + (1 / rate if seed is None else dice.expovariate(rate))) < volley.begin + seconds:
            delay = at - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            volley.shots.append(shot := Shot(at))
            group.create_task(fire(port, request, shot, patience))
    return volley


async def headroom(port: int, request: bytes, rate: float, *, seconds: float = 1.0, most: float = 6400.0) -> float:
    """Return the highest rate, of 2, 4, 8 ... times ``rate``, at which 99 of 100 requests are sent within 5 ms.

    The server has to be one that is known to keep up, such as ``known_server.py``.
    """
    kept = 0.0
    while rate * 2 <= most:
        rate *= 2
        volley = await offer(port, request, rate=rate, seconds=seconds, patience=5.0)
        is_complete = len(volley.answered()) == len(volley.shots)
        if volley.lateness(0.99) > LATE_SECONDS or not is_complete:
            break
        kept = rate
    return kept
