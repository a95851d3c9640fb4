"""Compressed bodies on a real server, with one HTTP process and with several."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from backports import zstd

from tests.serving import WAYS, Answer, Served, write_app

pytestmark = pytest.mark.e2e

SOURCE = """
    import hashlib
    from penstock import App

    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/digest")
    def digest(body: bytes) -> str:
        return hashlib.sha256(body).hexdigest()

    @app.endpoint("/numbers")
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @app.endpoint("/stream")
    def stream(count: int):
        yield from (list(range(1000)) for _ in range(count))
"""
MIB = 1 << 20
curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two processes"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    target = write_app(tmp_path_factory.mktemp("app"), SOURCE)
    with Served(target, "--http-workers", request.param, "--max-body", "4MiB", "--compress") as served:
        yield served


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Mapping[str, str]:
    return WAYS[request.param]


def peak_bytes(served: Served) -> int:
    """Return the most memory that any process of the server has had at a time."""
    statuses = [Path(f"/proc/{pid}/status").read_text(encoding="ascii") for pid in served.survivors()]
    peaks = [line.split()[1] for text in statuses for line in text.splitlines() if line.startswith("VmHWM")]
    return max(map(int, peaks)) * 1024


@curl
def test_curl_sends_compressed_json(served: Served) -> None:
    """As the how-to shows it."""
    command = ["curl", "-s", "-H", "Content-Encoding: gzip", "-H", "Content-Type: application/json"]
    command += ["--data-binary", "@-", f"{served.base_url}/square"]
    ran = subprocess.run(command, input=gzip.compress(b'{"input": 3}'), capture_output=True, check=True, timeout=20)
    assert ran.stdout == b"9.0"


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress)]
)
def test_a_large_body_arrives_as_it_was(served: Served, coding: str, pack: object) -> None:
    """By way of a thread and of a file."""
    content = bytes(range(256)) * 15_000
    answer = served.post("/digest", pack(content), headers={"Content-Encoding": coding})  # type: ignore[operator]
    assert answer.json() == hashlib.sha256(content).hexdigest()


def test_bombs_cost_no_memory_and_delay_no_one(served: Served) -> None:
    """Several at a time, each of 400 MB when it is inflated; the server answers another client meanwhile."""
    inner = zlib.compressobj(9, wbits=31)
    bomb = b"".join([inner.compress(bytes(MIB)) for _ in range(400)]) + inner.flush()
    assert len(bomb) < MIB
    served.post_json("/square", {"input": 1})
    before = peak_bytes(served)
    with ThreadPoolExecutor(6) as threads:
        bombs = [threads.submit(served.post, "/digest", bomb, headers={"Content-Encoding": "gzip"}) for _ in range(6)]
        other = served.post_json("/square", {"input": 2})
    assert [bomb.result().status for bomb in bombs] == [413] * 6
    assert json.loads(other.body) == 4.0
    assert peak_bytes(served) < before + 60 * MIB  # 6 at a time: at most 4 MiB of each, before and after


# ---- responses


def numbers(served: Served, count: int, way: Mapping[str, str], accept: str) -> Answer:
    return served.post_json("/numbers", {"count": count}, headers={"Accept-Encoding": accept, **way})


@pytest.mark.parametrize("count", [300, 5_000, 100_000, 1_000_000], ids=["1 kB", "30 kB", "700 kB", "8 MB, in a file"])
def test_both_ways_through_the_server_compress_alike(served: Served, count: int, way: Mapping[str, str]) -> None:
    """At once, in a thread, and from file to file."""
    plain = numbers(served, count, way, "identity")
    compressed = numbers(served, count, way, "gzip")
    assert (plain.headers["vary"], "content-encoding" in plain.headers) == ("Accept-Encoding", False)
    assert (compressed.headers["vary"], compressed.headers["content-encoding"]) == ("Accept-Encoding", "gzip")
    assert int(compressed.headers["content-length"]) == len(compressed.body) < len(plain.body)
    assert gzip.decompress(compressed.body) == plain.body
    assert set(compressed.headers) == {*plain.headers, "content-encoding"}
    assert zstd.decompress(numbers(served, count, way, "gzip, zstd").body) == plain.body


def test_a_small_response_is_left_alone_on_both_ways(served: Served, way: Mapping[str, str]) -> None:
    """There is no trace of the option in it."""
    answer = numbers(served, 5, way, "gzip")
    assert (answer.body, "vary" in answer.headers, "content-encoding" in answer.headers) == (
        b"[0,1,2,3,4]",
        False,
        False,
    )


def test_a_stream_arrives_as_it_is_sent(served: Served, way: Mapping[str, str]) -> None:
    """Chunk by chunk."""
    answer = served.post_json("/stream", {"count": 3}, headers={"Accept-Encoding": "gzip, zstd", **way})
    assert (len(answer.lines()), "content-encoding" in answer.headers) == (3, False)


@curl
def test_curl_asks_for_compressed_responses(served: Served) -> None:
    """And for those of routes."""
    command = ["curl", "-s", "--compressed", "-w", "%{size_download} %header{content-encoding}"]
    for path, body in (
        ("/numbers", ["-d", '{"count": 5000}', "-H", "Content-Type: application/json"]),
        ("/metrics", []),
    ):
        ran = subprocess.run([*command, f"{served.base_url}{path}", *body], capture_output=True, check=True, timeout=20)
        content, _, facts = ran.stdout.rpartition(b"\n" if path == "/metrics" else b"]")
        size, coding = facts.split()
        assert coding in {b"gzip", b"zstd"}
        assert int(size) < len(content)
