"""Compressed request bodies: what can be read, what is refused, and what a bomb costs."""

from __future__ import annotations

import asyncio
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import falcon.testing
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

import penstock_falcon
from penstock import errors
from penstock.hosting import BodyFile
from penstock.response import Encoded
from penstock_falcon import request_decoding
from penstock_falcon._asgi.asgi_transport import AsgiTransport
from penstock_falcon.request_checks import BodyCollector
from penstock_falcon.request_decoding import InflatingReader, content_coding, inflated
from tests.adapters.falcon.direct_server import direct
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, FakeThreadedEngine, make_app
from tests.adapters.falcon.shared_server import shared
from tests.adapters.falcon.toy_dialect import toy_asgi, toy_shared, toy_wsgi

LARGEST_BODY = 1_000_000
KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "direct": (direct, FakeEngine),
    "shared": (shared, FakeEngine),
    "wsgi": (penstock_falcon.wsgi, FakeThreadedEngine),
    "toy-asgi": (toy_asgi, FakeEngine),
    "toy-shared": (toy_shared, FakeEngine),
    "toy-wsgi": (toy_wsgi, FakeThreadedEngine),
}


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def engine(kind: str) -> FakeEngine:
    return KINDS[kind][1](echo)


@pytest.fixture
def client(kind: str, engine: FakeEngine) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(KINDS[kind][0](make_app(), engine=engine, max_body=LARGEST_BODY))


def echo(call: FakeCall) -> None:
    body = call.body if isinstance(call.body, bytes) else call.body.read_all()
    call.decide(Encoded(body, "application/octet-stream"))


def post(client: falcon.testing.TestClient, body: bytes, coding: str, path: str = "/raw", **more: str) -> Any:
    return client.simulate_post(path, body=body, headers={"Content-Encoding": coding, **more})


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# ---- what can be read


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("size", [0, 1, 60_000, 900_000])
def test_each_coding_is_inflated(client: falcon.testing.TestClient, name: str, size: int) -> None:
    """At once or in a thread; the engine gets the content."""
    coding, pack = PACK[name]
    content = (noise(size // 2) + b"penstock " * size)[:size]
    result = post(client, pack(content), coding)
    assert (result.status_code, result.content == content) == (200, True)


def test_the_content_is_checked_as_without_compression(client: falcon.testing.TestClient, engine: FakeEngine) -> None:
    """JSON, and a 422 with the field for what does not fit."""
    result = post(client, gzip.compress(b'{"input": 4}'), "gzip", "/square")
    assert (result.status_code, result.content) == (200, b'{"input": 4}')
    result = post(client, gzip.compress(b'{"input": "x"}'), "gzip", "/square")
    assert (result.status_code, result.json["errors"][0]["path"]) == (422, "$.input")
    assert len(engine.calls) == 1


def test_a_compressed_form_is_a_form(client: falcon.testing.TestClient) -> None:
    """The media type is that of the content."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert post(client, gzip.compress(b"input=4"), "gzip", "/square", **form).content == b"input=4"
    assert post(client, gzip.compress(b"input=x"), "gzip", "/square", **form).status_code == 422


@pytest.mark.parametrize("header", ["", "identity", " , identity"])
def test_no_coding_is_none(client: falcon.testing.TestClient, header: str) -> None:
    """The body is taken as it is."""
    assert post(client, b"plain", header).content == b"plain"


def test_an_empty_body_is_empty(client: falcon.testing.TestClient) -> None:
    """Some clients name their coding for each request, with a body or without."""
    assert post(client, b"", "gzip").content == b""


def test_a_body_in_several_members_is_one(client: falcon.testing.TestClient) -> None:
    """RFC 1952, section 2.2, and RFC 8878, section 3.1; empty members are skipped, however many there are."""
    empty = gzip.compress(b"")
    assert post(client, gzip.compress(b"a") + empty * 300 + gzip.compress(b"b"), "gzip").content == b"ab"
    assert post(client, zstd.compress(b"a") + zstd.compress(b"b"), "zstd").content == b"ab"


# ---- what is refused


@pytest.mark.parametrize("header", ["br", "gzip, br", "gzip, gzip", "deflate, identity, gzip", "compress", "\xff"])
def test_another_coding_is_a_415_that_names_those_that_are_read(
    client: falcon.testing.TestClient, engine: FakeEngine, header: str
) -> None:
    """RFC 9110, section 12.5.3; a list of codings would only help to hide how large a body is."""
    result = post(client, b"x", header)
    assert (result.status_code, result.headers["accept-encoding"]) == (415, "gzip, deflate, zstd")
    assert engine.calls == []


def test_a_wrong_media_type_names_no_coding(client: falcon.testing.TestClient) -> None:
    """The coding was not the reason."""
    result = client.simulate_post("/square", body=b"x", headers={"Content-Type": "text/plain"})
    assert (result.status_code, "accept-encoding" in result.headers) == (415, False)


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("size", [20, 500_000])
def test_a_body_that_is_cut_off_is_a_400(
    client: falcon.testing.TestClient, engine: FakeEngine, name: str, size: int
) -> None:
    """Even if all that is missing is the checksum: what has arrived may not be what was sent."""
    coding, pack = PACK[name]
    result = post(client, pack(noise(size))[:-1], coding)
    assert (result.status_code, result.json["error"]["code"], engine.calls) == (400, "invalid-request", [])


@pytest.mark.parametrize("name", PACK)
def test_a_body_that_is_not_compressed_is_a_400(client: falcon.testing.TestClient, name: str) -> None:
    """The response says which coding it was taken for."""
    result = post(client, b'{"input": 4}', PACK[name][0])
    assert result.status_code == 400
    assert PACK[name][0].lower() in result.json["detail"]


def test_a_wrong_checksum_is_a_400(client: falcon.testing.TestClient) -> None:
    """Formats with a checksum say what the content has to be."""
    packed = bytearray(gzip.compress(b"content"))
    packed[-5] ^= 1
    assert post(client, bytes(packed), "gzip").status_code == 400


def test_garbage_after_the_end_is_a_400(client: falcon.testing.TestClient) -> None:
    """It may be what the client meant to send."""
    assert post(client, gzip.compress(b"content") + b"garbage", "gzip").status_code == 400


# ---- limits


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_is_a_413(client: falcon.testing.TestClient, engine: FakeEngine, name: str) -> None:
    """Ten megabytes of zeros in ten kilobytes: the limit is that of any other body."""
    coding, pack = PACK[name]
    bomb = pack(bytes(10_000_000))
    assert len(bomb) < 20_000
    result = post(client, bomb, coding)
    assert (result.status_code, engine.calls, engine.arriving_bytes) == (413, [], 0)
    assert str(LARGEST_BODY) in result.json["detail"]


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_bomb_costs_no_more_than_the_limit(coding: str, pack: Callable[[bytes], bytes]) -> None:
    """It is not inflated to its end: neither the time nor the memory depends on how large it would become."""
    bomb = pack(bytes(200_000_000))
    steps = Steps()
    tracemalloc.start()
    try:
        with pytest.raises(errors.PayloadTooLarge):
            asyncio.run(inflated(bomb, coding, BodyCollector(LARGEST_BODY), steps, None))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert steps.count <= 1
    assert peak < LARGEST_BODY + 2 * request_decoding.STEP_BYTES


class Steps(AsgiTransport):
    """Counts the steps that are taken elsewhere."""

    def __init__(self) -> None:
        self.count = 0

    async def run_blocking(self, function: Callable[..., None], argument: object) -> None:
        self.count += 1
        function(argument)


def test_a_small_body_takes_no_thread() -> None:
    """Unless its content is large."""
    steps = Steps()
    small, large = gzip.compress(bytes(100_000)), gzip.compress(bytes(600_000))
    assert asyncio.run(inflated(small, "gzip", BodyCollector(LARGEST_BODY), steps, None)) == bytes(100_000)
    assert steps.count == 0
    assert asyncio.run(inflated(large, "gzip", BodyCollector(LARGEST_BODY), steps, None)) == bytes(600_000)
    assert steps.count == 1


def test_empty_members_are_not_all_read_at_once() -> None:
    """A step ends after a few, although none of them adds anything."""
    reader = InflatingReader(gzip.compress(b"") * 1000, "gzip")
    steps = 0
    while not reader.is_finished:
        reader.advance(1 << 18)
        steps += 1
    assert steps >= 1000 // request_decoding.STEP_MEMBERS


def test_a_file_stays_a_file() -> None:
    """A large body is read from its file and written to another, in pieces."""
    content = noise(100_000) * 40
    packed = BodyFile.of(gzip.compress(content))
    collector = BodyCollector(1 << 24, None, has_file=True)
    body = asyncio.run(inflated(packed, "gzip", collector, Steps(), None))
    assert isinstance(body, BodyFile)
    assert body.read_all() == content


def test_a_deadline_ends_the_inflating() -> None:
    """At the next step, as it ends the upload."""
    with pytest.raises(errors.RequestTimeout):
        asyncio.run(inflated(gzip.compress(bytes(900_000)), "gzip", BodyCollector(LARGEST_BODY), Steps(), 0.0))


def test_a_window_beyond_that_of_http_is_refused() -> None:
    """RFC 9659: 8 MiB for each request, and not whatever its sender chooses."""
    options = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(noise(1000)) + packer.flush()
    with pytest.raises(errors.MalformedRequest):
        InflatingReader(packed, "zstd").advance(1 << 20)


def test_the_content_counts_against_the_queue(kind: str) -> None:
    """A body that is small on the wire and large inside takes the room of a large one while it is inflated."""
    seen = []
    engine = KINDS[kind][1](echo)
    begin_upload = engine.begin_upload

    def noting(endpoint: Any, size_bytes: int) -> Callable[[], None]:
        seen.append(size_bytes)
        return begin_upload(endpoint, size_bytes)

    engine.begin_upload = noting  # type: ignore[method-assign]
    client = falcon.testing.TestClient(KINDS[kind][0](make_app(), engine=engine, max_body=LARGEST_BODY))
    assert post(client, gzip.compress(bytes(500_000)), "gzip").status_code == 200
    assert (sum(seen), engine.arriving_bytes) == (500_000, 0)


def test_without_zstd_it_is_a_coding_like_any_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is optional."""
    monkeypatch.setattr(request_decoding, "zstd_module", lambda: None)
    request_decoding._codings.cache_clear()
    try:
        with pytest.raises(errors.UnsupportedMediaType) as caught:
            content_coding("zstd")
    finally:
        request_decoding._codings.cache_clear()
    assert caught.value.headers == {"Accept-Encoding": "gzip, deflate"}


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "zstd"]))
def test_any_bytes_are_content_or_malformed(body: bytes, coding: str) -> None:
    """No error but that of a malformed request."""
    reader = InflatingReader(body, coding)
    try:
        while not reader.is_finished:
            reader.advance(1 << 16)
            if len(b"".join(reader.take())) >= 1 << 16:
                break
    except errors.MalformedRequest:
        pass
