"""Streams: one of 20,000 chunks, and 64 at once."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Case, Figures, Pace
from http_client import HOST, as_json
from open_loop import quantile
from plots import bars
from results import Column, Result, times
from servers import Server

LONG, SHORT, TOGETHER = 20_000, 1_000, 64
PATIENCE = 15.0
MARK = b'"token"'


@dataclass
class Stream:
    """The part of one stream that a client has received: chunks, and the times of the first one and of the end."""

    mark: bytes = MARK
    chunks: int = 0
    first: float = 0.0
    end: float = 0.0
    tail: bytes = b""

    def take(self, data: bytes, now: float) -> None:
        """Count the chunks in the next bytes."""
        found = (self.tail + data).count(self.mark)
        if found and not self.chunks:
            self.first = now
        self.chunks += found
        self.tail = (self.tail + data)[-(len(self.mark) - 1) :]


def read(server: Server, streams: int, request: bytes, mark: bytes = MARK) -> list[Stream]:
    """Read this number of streams at the same time, for ``PATIENCE`` seconds at most; times count from the start.

    Each chunk has the mark once.
    """
    found = {}
    begin = time.perf_counter()
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(streams):
            sock = stack.enter_context(socket.create_connection((HOST, server.port), timeout=PATIENCE))
            sock.sendall(request)
            sock.setblocking(False)
            found[sock] = Stream(mark)
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map() and (left := begin + PATIENCE - time.perf_counter()) > 0:
            for key, _events in selector.select(left):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                with contextlib.suppress(BlockingIOError):
                    data = sock.recv(1 << 18)
                    now = time.perf_counter() - begin
                    found[sock].take(data, now)
                    if not data:
                        found[sock].end = now
                        selector.unregister(sock)
    return list(found.values())


def measure(server: Server, _pace: Pace, _: Any) -> Figures:
    """Measure one long stream, then many short ones at once."""

    def request(chunks: int) -> bytes:
        return server.request(as_json({"n": chunks}), {"Connection": "close"})

    read(server, 1, request(100))
    figures: Figures = {}
    for name, streams, chunks in (("one", 1, LONG), ("many", TOGETHER, SHORT)):
        got = read(server, streams, request(chunks))
        total = sum(stream.chunks for stream in got)
        if total < streams * chunks:
            figures[f"{name}_lost"] = f"{total:,} of {streams * chunks:,} chunks in {PATIENCE:g} s"
        seconds = max(stream.end or PATIENCE for stream in got)
        figures[f"{name}_rate"] = total / seconds
        firsts = [stream.first for stream in got if stream.chunks]
        figures[f"{name}_first"] = quantile(firsts, 0.5) * 1000
        figures[f"{name}_first_max"] = quantile(firsts, 1.0) * 1000
    return figures


CASE = Case(name="streams", endpoint="count", measure=measure, most_rounds=3)


def section(result: Result, folder: Path) -> list[str]:
    """Return the part of the page, and draw the chunks/s."""
    rates = {result.title(name): result.median(name, "one_rate") for name in result.names}
    (folder / "benchmarks-streams.svg").write_text(bars("One stream: chunks/s", rates), encoding="utf-8")
    lines = [
        "## Streams",
        "",
        (
            f'A handler yields `{{"token": n}}` as fast as it can: one stream of {LONG:,} chunks, then {TOGETHER} '
            f"streams of {SHORT:,} chunks at once. The time to the first chunk counts from the first connection. Where "
            "two processes of a server never pause, the client shares their cores: on two cores, most of Penstock's "
            "time to the first chunk of the one stream is the client's wait for a core."
        ),
        "",
    ]
    lines += result.table([
        Column("one stream: chunks/s", "one_rate"),
        Column("first chunk, ms", "one_first", "{:,.1f}"),
        Column(f"{TOGETHER} streams: chunks/s", "many_rate"),
        Column("first chunk, ms: median", "many_first", "{:,.0f}"),
        Column("slowest", "many_first_max", "{:,.0f}"),
    ])  # fmt: skip
    lines += ["", "![One stream: chunks/s](benchmarks-streams.svg)", ""]
    ratios = [(other, result.ratio("one_rate", "penstock", other)) for other in ("mosec", "litserve")]
    found = [f"{times(ratio)} {result.title(other)}'s" for other, ratio in ratios if ratio is not None]
    if found:
        lines.append(f"In one stream, Penstock's rate is {' and '.join(found)}.")
    for name in result.names:
        for key in ("one_lost", "many_lost"):
            if words := result.words(name, key):
                lines.append(f"{result.title(name)} delivered {words}.")
    return lines
