"""The Open Inference Protocol with a real server, by plain HTTP."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from prometheus_client import parser

from tests.e2e.watching import assert_on_time, in_background, wait_idle, wait_running, worker_pid
from tests.plugins.oip.inference_scene import JSON_SIZE, described, raw_input, texts
from tests.plugins.oip.test_mutated_tensors import mutated
from tests.serving import ROOT, WAYS, Answer, Served, wait_until, write_app

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "oip_app.py"
KEY = "a-key-of-alice-0123456789"
ROW = described("x", "FP32", [1, 4], [1, 2, 3, 4])
SLOW = 30.0
AS_RAW = {"binary_data_output": True}


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json", "--http-workers", request.param) as served:
        yield served
        assert not served.events("internal-error")
        assert not served.events("result-mismatch")


def infer(served: Served, model: str, *inputs: Any, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """Send JSON alone, without a content type, as clients do."""
    body = json.dumps({"inputs": inputs, **more}).encode()
    return served.request("POST", f"/v2/models/{quote(model)}/infer", body, headers=headers)


def infer_raw(
    served: Served, model: str, inputs: list[Any], raw: bytes, coding: str = "", **headers: str
) -> tuple[Any, bytes]:
    """Send JSON and raw data; return those of the answer."""
    content = json.dumps({"inputs": inputs, "parameters": AS_RAW}).encode()
    body = content + raw
    if coding:
        body = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
        headers["Content-Encoding"] = coding
    answer = served.post(f"/v2/models/{quote(model)}/infer", body, headers={JSON_SIZE: str(len(content)), **headers})
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers[JSON_SIZE.lower()])
    whole = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
    return json.loads(whole[:size]), whole[size:]


def error_of(answer: Answer) -> str:
    """Return the text of an error, which has the protocol's shape."""
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert content.keys() == {"error"}
    assert isinstance(content["error"], str)
    return str(content["error"])


# ---- answers


@pytest.mark.parametrize("way", WAYS)
def test_json(served: Served, way: str) -> None:
    """With and without ASGI; the handler may change its input."""
    answer = infer(served, "iris", ROW, id="7", parameters={"scale": 2}, headers=dict(WAYS[way]))
    assert answer.status == 200
    output = {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}
    assert answer.json() == {"model_name": "iris", "model_version": "1", "id": "7", "outputs": [output]}
    assert answer.headers["x-request-id"]


def test_raw_data(served: Served) -> None:
    """In both directions, of all sizes: within a frame, in frames, and in a file."""
    for elements in (0, 1, 5000, 200_000, 3_000_000):
        raw = np.arange(elements, dtype="<f4").tobytes()
        content, found = infer_raw(served, "copy", [raw_input("x", "FP32", [elements], raw)], raw)
        assert content["outputs"][0]["shape"] == [elements]
        assert found == raw


def test_mixed_inputs_in_a_model_with_a_space_and_a_slash(served: Served) -> None:
    """JSON and raw data side by side, with all the bytes of texts and the bits of half floats."""
    halves, names = np.array([1.5, -2], dtype="<f2").tobytes(), texts(b"\xff\x00", b"")
    inputs = [
        raw_input("f16", "FP16", [2], halves),
        described("i64", "INT64", [1], [2**60 + 1]),
        raw_input("bf16", "BF16", [2], b"\x80\x3f\x00\x40"),
        raw_input("text", "BYTES", [2], names),
    ]
    content, raw = infer_raw(served, "org/every thing", inputs, halves + b"\x80\x3f\x00\x40" + names)
    assert [output["name"] for output in content["outputs"]] == ["i64", "f16", "bf16", "text"]
    assert raw == np.int64(2**60 + 1).tobytes() + halves + b"\x80\x3f\x00\x40" + names


def test_raw_data_alone(served: Served) -> None:
    """The body is the tensor."""
    answer = served.post("/v2/models/scalar/infer", np.int64(7).tobytes(), headers={JSON_SIZE: "0"})
    assert answer.body.endswith(np.int64(49).tobytes())
    answer = served.post("/v2/models/upper/infer", b"abc", headers={JSON_SIZE: "0"})
    assert answer.body.endswith(texts(b"ABC"))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests(served: Served, coding: str) -> None:
    """The size of the JSON is that before the compression."""
    for elements in (4, 400_000):
        raw = np.arange(elements, dtype="<f4").tobytes()
        assert infer_raw(served, "copy", [raw_input("x", "FP32", [elements], raw)], raw, coding)[1] == raw


def test_compressed_responses() -> None:
    """Clients inflate them first, and then cut them at the size that the header says."""
    with Served(TARGET, "--compress") as served:
        for elements in (4, 4000, 2_000_000):
            raw = np.zeros(elements, dtype="<f4").tobytes()
            inputs = [raw_input("x", "FP32", [elements], raw)]
            assert infer_raw(served, "copy", inputs, raw, **{"Accept-Encoding": "gzip"})[1] == raw


def test_numbers_that_json_does_not_have(served: Served) -> None:
    """By their bare names, in both directions."""
    answer = infer(served, "copy", described("x", "FP32", [4], [float("nan"), float("inf"), -float("inf"), 1]))
    assert b"[NaN, Infinity, -Infinity, 1.0]" in answer.body
    assert infer(served, "copy", described("x", "FP32", [1], [None])).body.count(b"NaN") == 1


def test_requests_are_joined(served: Served) -> None:
    """Rows of several requests are summed together, and each gets its own; eight rows are the most of one call."""

    def ask(rows: int) -> Any:
        data = [[rows] * 4] * rows
        answer = infer(served, "total", described("x", "FP32", [rows, 4], data))
        return {output["name"]: output["data"] for output in answer.json()["outputs"]}

    with in_background() as submit:
        answers = [future.result() for future in [submit(ask, rows) for rows in (1, 2, 3, 1, 2, 3)]]
    for rows, found in zip((1, 2, 3, 1, 2, 3), answers, strict=True):
        assert found["total"] == [rows * 4.0] * rows
    together = {count for found in answers for count in found["rows"]}
    assert max(together) > 3
    assert max(together) <= 8
    assert "at a time" in error_of(infer(served, "total", described("x", "FP32", [9, 4], [0] * 36)))


def test_versions(served: Served) -> None:
    """The highest is the default; the others have paths of their own."""
    assert infer(served, "sums", ROW).json()["model_version"] == "10"
    answer = served.post_json("/v2/models/sums/versions/1/infer", {"inputs": [ROW]})
    assert answer.json()["model_version"] == "1"
    assert "it has 1, 10" in error_of(served.post_json("/v2/models/sums/versions/2/infer", {"inputs": [ROW]}))


# ---- the rest of the protocol


def test_metadata_and_health(served: Served) -> None:
    """Always JSON."""
    assert served.get("/v2/health/live").json() == {"live": True}
    assert served.get("/v2/health/ready").json() == {"ready": True}
    assert served.get("/v2").json() == served.get("/v2/").json()
    assert served.get("/v2/models/org/every%20thing/ready").json() == {"name": "org/every thing", "ready": True}
    assert served.get("/v2/models/org%2Fevery%20thing/versions/1").json()["name"] == "org/every thing"
    assert "iris" in served.get("/v2/models").json()["models"]
    index = served.request("POST", "/v2/repository/index").json()
    assert {"name": "iris", "version": "1", "state": "READY", "reason": ""} in index
    assert served.get("/v2/models/iris/config").json()["max_batch_size"] == 0
    assert served.request("POST", "/v2/repository/models/iris/unload", b"{}").status == 501


def test_statistics(served: Served) -> None:
    """They count the requests that were answered."""

    def count() -> int:
        [entry] = served.get("/v2/models/scalar/stats").json()["model_stats"]
        return int(entry["inference_stats"]["success"]["count"])

    before = count()
    assert infer(served, "scalar", described("x", "INT64", [], 3)).json()["outputs"][0]["data"] == [9]
    assert count() == before + 1


def test_bytes_that_are_not_text_are_not_sent_as_json(served: Served) -> None:
    """The handler has run, but it is the client that asked for JSON."""
    content = json.dumps({"inputs": [raw_input("text", "BYTES", [1], texts(b"\xff"))]}).encode()
    headers = {JSON_SIZE: str(len(content))}
    answer = served.post("/v2/models/upper/infer", content + texts(b"\xff"), headers=headers)
    assert answer.status == 400
    assert "ask for it with binary_data" in error_of(answer)


JOBS = """
from typing import Annotated

import numpy as np

from penstock import App, Jobs
from penstock_oip import Infer, Tensor

Rows = Annotated[np.ndarray, Tensor("FP32", [-1])]
app = App(__name__)


@app.endpoint("/double", dialects=[Infer()], jobs=Jobs())
def double(x: Rows) -> Rows:
    return x * np.float32(2)
"""


def test_an_inference_may_be_a_background_job(tmp_path: Path) -> None:
    """Its stored result is the answer as the protocol has it, raw data included."""
    store = {"PENSTOCK_JOBS_STORE": f"sqlite:///{tmp_path / 'jobs.db'}"}
    raw = np.array([1, 2], dtype="<f4").tobytes()
    content = json.dumps({"inputs": [raw_input("x", "FP32", [2], raw)], "parameters": AS_RAW}).encode()
    headers = {JSON_SIZE: str(len(content)), "Prefer": "respond-async"}
    with Served(write_app(tmp_path, JOBS), environment=store) as served:
        accepted = served.post("/v2/models/double/infer", content + raw, headers=headers)
        assert accepted.status == 202
        result = f"{accepted.headers['location']}/result"
        answer = wait_until(lambda: found if (found := served.get(result)).status == 200 else None, "the result")
        assert answer is not None
        assert answer.body.endswith(np.array([2, 4], dtype="<f4").tobytes())
        assert json.loads(answer.body[: int(answer.headers[JSON_SIZE.lower()])])["model_name"] == "double"


def test_errors_have_the_shape_of_the_protocol(served: Served) -> None:
    """Also those around the models: unknown paths, methods and codings."""
    assert error_of(infer(served, "nothing", ROW)).startswith("There is no model 'nothing'")
    for status, answer in (
        (404, served.get("/v2/models/nothing")),
        (404, served.get("/v2/cudasharedmemory/status")),
        (405, served.get("/v2/models/iris/infer")),
        (405, served.request("PUT", "/v2/models/org/every%20thing/infer", b"{}")),
        (415, served.post("/v2/models/iris/infer", b"{}", headers={"Content-Encoding": "br"})),
        (400, served.post("/v2/models/iris/infer", b"{}", headers={"Content-Encoding": "gzip"})),
        (400, infer(served, "iris", described("x", "FP32", [1, 4], ["a", 1, 2, 3]))),
        (500, infer(served, "process", described("x", "INT32", [1], [-1]))),
    ):
        assert answer.status == status
        assert error_of(answer)


def test_a_connection_survives_a_mistake(served: Served) -> None:
    """A small request is read before it is refused, so clients that keep connections can use theirs again."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
    body = json.dumps({"inputs": [ROW]}).encode()
    with contextlib.closing(connection):
        for _ in range(20):
            for path in ("models/nothing/infer", "models/iris/infer", "repository/models/iris/load", "trace/setting"):
                connection.request("POST", f"/v2/{path}", body)
                connection.getresponse().read()
                assert connection.sock is not None
    refused = served.request("POST", "/v2/models/nothing/infer", bytes(1 << 20))
    assert refused.status == 404


# ---- deadlines, hang-ups, limits, keys, metrics


@pytest.mark.timed
def test_the_timeout_of_a_request_is_its_deadline(served: Served) -> None:
    """In microseconds. The client is answered then, the worker is free again, and the handler knew of it."""
    answer = infer(served, "slow", described("x", "FP64", [1], [SLOW]), parameters={"timeout": 300_000})
    assert answer.status == 504
    assert "0.3 s" in error_of(answer)
    assert_on_time(answer.seconds, 0.3)
    wait_idle(served, "slow")
    answer = infer(served, "process", described("x", "INT32", [1], [1]), parameters={"timeout": 5_000_000})
    assert 0 < answer.json()["outputs"][0]["data"][1] <= 5000


def test_a_client_that_leaves_frees_the_worker(served: Served) -> None:
    """Nothing more is done for it."""
    body = json.dumps({"inputs": [described("x", "FP64", [1], [SLOW])]}).encode()
    connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/v2/models/slow/infer", body)
        wait_running(served, "slow")
    wait_idle(served, "slow")
    wait_running(served, "slow", 0)


def test_a_full_queue_says_when_to_come_back(served: Served) -> None:
    """503, with Retry-After: nothing was started."""
    slow = described("x", "FP64", [1], [SLOW])
    with in_background() as submit:
        waiting = [submit(infer, served, "slow", slow, parameters={"timeout": 3_000_000}) for _ in range(2)]
        wait_until(lambda: served.status()["endpoints"]["slow"]["queued"] == 1, "one job to wait")
        refused = infer(served, "slow", slow)
        assert refused.status == 503
        assert error_of(refused)
        assert int(refused.headers["retry-after"]) >= 1
        assert sorted(future.result().status for future in waiting) in ([503, 504], [504, 504])


LIMITED = """
from typing import Annotated

import numpy as np

from penstock import App
from penstock_oip import Infer, Tensor

Rows = Annotated[np.ndarray, Tensor("FP32", [-1, 4])]
app = App(__name__, settings={"ratelimit": {"endpoints": {"iris": {"requests": ["3/hour"]}}}})


@app.endpoint("/iris", dialects=[Infer()])
def iris(x: Rows) -> Rows:
    return x
"""


def test_keys_and_limits(tmp_path: Path) -> None:
    """Health is open; everything else needs a key, and the errors have the protocol's shape."""
    environment = {"PENSTOCK_AUTH_KEYS": f"alice:operator={KEY}"}
    with Served(write_app(tmp_path, LIMITED), "--max-body", "1MiB", environment=environment) as served:
        assert served.get("/v2/health/ready").status == 200
        for path in ("/v2", "/v2/models", "/v2/models/iris", "/v2/models/iris/ready"):
            refused = served.get(path)
            assert (refused.status, refused.headers["x-should-retry"]) == (401, "false")
            assert error_of(refused)
        refused = infer(served, "iris", ROW)
        assert refused.status == 401
        assert error_of(refused)
        unknown = served.post("/v2/models/no/such/infer", b"{}")
        assert (unknown.status, b"iris" in unknown.body) == (401, False)
        key = {"X-API-Key": KEY}
        assert served.get("/v2/models/iris", headers=key).status == 200
        assert served.post("/v2/models/no/such/infer", b"{}", headers=key).status == 404
        large = served.post("/v2/models/iris/infer", bytes(2 << 20), headers=key)
        assert large.status == 413
        assert error_of(large)
        statuses = [infer(served, "iris", ROW, headers=key) for _ in range(4)]
        assert statuses[0].status == 200
        assert statuses[-1].status == 429
        assert error_of(statuses[-1])
        assert int(statuses[-1].headers["retry-after"]) >= 1


def test_metrics(served: Served) -> None:
    """Requests are counted under the endpoint of their model."""

    def jobs(code: str) -> float:
        families = parser.text_string_to_metric_families(served.get("/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples if sample.name == "penstock_jobs_total"]
        wanted = {"endpoint": "upper", "code": code}
        return sum(sample.value for sample in samples if sample.labels.items() >= wanted.items())

    before = jobs("ok"), jobs("invalid-request")
    assert infer(served, "upper", described("text", "BYTES", [1], ["a"])).status == 200
    assert infer(served, "upper", described("text", "BYTES", [1], [1])).status == 400
    wait_until(lambda: (jobs("ok"), jobs("invalid-request")) == (before[0] + 1, before[1] + 1), "both to be counted")


# ---- robustness


def test_mutated_requests(served: Served) -> None:
    """None is answered with a 5xx, and the worker stays the same."""
    dice = random.Random(3)
    before = worker_pid(served, "default")
    statuses = {200: 0, 400: 0, 404: 0}
    for _ in range(300):
        path, body, headers = mutated(dice)
        status = served.request("POST", quote(path), body, headers=headers).status
        assert status in statuses, (path, body, headers)
        statuses[status] += 1
    assert min(statuses.values()) > 0
    assert worker_pid(served, "default") == before


def peak_bytes(served: Served) -> int:
    """Return the largest amount of memory that the HTTP process has had; files that it has not mapped do not count."""
    lines = Path(f"/proc/{served.process.pid}/status").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("size_bytes", [48 << 20, pytest.param(256 << 20, marks=pytest.mark.thorough)])
def test_a_large_tensor_is_not_copied_by_the_server(size_bytes: int) -> None:
    """It goes through the HTTP process in a file, in both directions."""
    raw = np.random.default_rng(1).bytes(size_bytes)
    with Served(TARGET, "--max-body", "300MiB") as served:
        assert infer(served, "copy", described("x", "FP32", [1], [1])).status == 200
        before = peak_bytes(served)
        assert infer_raw(served, "copy", [raw_input("x", "FP32", [size_bytes // 4], raw)], raw)[1] == raw
        assert peak_bytes(served) - before < size_bytes // 2
