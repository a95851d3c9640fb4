"""Load reports for balancers (ORCA), and gauges for autoscalers."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from prometheus_client import parser

from penstock import App, Batching
from penstock.hooks import JobAnswered, RouteRequest, Submission
from penstock.testing import Behaviour, MockClock, PluginHarness
from penstock_metrics import MetricsPlugin, MetricsSettings
from penstock_metrics.orca import LoadReport, LoadReports, PoolLoad
from penstock_metrics.utilization import utilization_by_pool

REPORT = LoadReport(utilization=0.5, requests_per_second=8.25, errors_per_second=1.5, jobs=3)
ASKING = {"endpoint-load-metrics-format": "json"}


def app_under_test() -> App:
    app = App("tests")

    @app.endpoint("/square", workers=2)
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/embed", batching=Batching(max_size=8))
    def embed(batch: list[str]) -> list[int]:
        return [len(item) for item in batch]

    @app.endpoint("/rest", concurrency=4, runtime="trio", pool="trio")
    async def rest() -> None: ...

    return app


def harness(**settings: Any) -> PluginHarness:
    return PluginHarness(app_under_test(), [MetricsPlugin], settings={"metrics": settings})


def reported(headers: dict[str, str]) -> dict[str, Any]:
    """Return the content of the JSON report among the headers."""
    value = headers["endpoint-load-metrics"]
    assert value.startswith("JSON ")
    found: dict[str, Any] = json.loads(value.removeprefix("JSON "))
    return found


# ---- the formats


def test_text_is_pairs() -> None:
    """Envoy splits the text at commas and equals signs; names of maps are prefixes."""
    name, value = REPORT.header("text")
    assert name == "endpoint-load-metrics"
    form, _, pairs = value.partition(" ")
    assert form == "TEXT"
    assert dict(pair.strip().split("=") for pair in pairs.split(",")) == {
        "application_utilization": "0.5",
        "rps_fractional": "8.25",
        "eps": "1.5",
        "named_metrics.jobs": "3.0",
    }


def test_json_has_the_names_of_the_message() -> None:
    """The fields are those of OrcaLoadReport."""
    expected = {"application_utilization": 0.5, "rps_fractional": 8.25, "eps": 1.5, "named_metrics": {"jobs": 3.0}}
    assert reported(dict([REPORT.header("json")])) == expected


def test_binary_is_the_serialized_message() -> None:
    """Each field has the number and the type that it has in OrcaLoadReport; the map is a nested message."""
    name, value = REPORT.header("binary")
    assert name == "endpoint-load-metrics-bin"
    data, fields = base64.b64decode(value), {}
    while data:
        number, wire_type, size = data[0] >> 3, data[0] & 7, data[1]
        if wire_type == 1:
            (fields[number],), data = struct.unpack("<d", data[1:9]), data[9:]
        else:
            assert wire_type == 2
            fields[number], data = data[2 : 2 + size], data[2 + size :]
    assert fields.pop(8) == b"\x0a\x04jobs\x11" + struct.pack("<d", 3.0)
    assert fields == {6: 8.25, 7: 1.5, 9: 0.5}


# ---- what is reported


def test_utilization_is_an_average_of_the_last_seconds() -> None:
    """A worker that is busy half of the time has one half; what was long ago does not count."""
    clock = MockClock()
    load = PoolLoad(clock())
    for _ in range(100):
        load.change(1.0, clock())
        clock.advance(0.1)
        load.change(-1.0, clock())
        clock.advance(0.1)
    assert load.workers(clock()) == pytest.approx(0.5, abs=0.02)
    for _ in range(30):
        clock.advance(0.5)
        load.change(0.0, clock())
    assert load.workers(clock()) == 0.0


class Server:
    """The policy of an endpoint with two workers, and its clock."""

    def __init__(self) -> None:
        self.clock = MockClock()
        app = app_under_test()
        self.endpoint = app.endpoints[0]
        self.reports = LoadReports(app, "json", self.clock)
        self._admit = self.reports.policy(self.endpoint)

    def admit(self) -> Submission:
        submission = Submission(self.endpoint)
        release = self._admit(submission)
        assert release is not None
        submission.add_release(release)
        return submission


def end(submission: Submission, code: str = "ok") -> None:
    submission.close(JobAnswered(endpoint="square", request_id="", code=code))


def test_waiting_jobs_count() -> None:
    """Above 1, jobs wait: three jobs for two workers are one and a half."""
    server = Server()
    for _ in range(3):
        server.admit()
    server.clock.advance(4.0)
    assert server.reports.report().utilization == pytest.approx(1.5)
    assert server.reports.report().jobs == 3


def test_rates_are_of_what_has_ended() -> None:
    """Errors are those that are the server's fault; a client that has left, or erred, is none."""
    server = Server()
    for code in ("ok", "handler-error", "invalid-request", "cancelled", "queue-full"):
        end(server.admit(), code)
    server.clock.advance(2.0)
    assert server.reports.report().requests_per_second == pytest.approx(2.5)
    assert server.reports.report().errors_per_second == pytest.approx(1.0)


def test_a_response_has_the_load_at_its_end() -> None:
    """The job itself does not count any more; the head of a stream has the load at its admission."""
    server = Server()
    submission = server.admit()
    assert reported(dict(submission.response_headers))["named_metrics"] == {"jobs": 1.0}
    server.clock.advance(1.0)
    end(submission)
    assert reported(dict(submission.response_headers))["named_metrics"] == {"jobs": 0.0}


def test_a_report_serves_for_a_moment() -> None:
    """Under load, one is made for many responses; the next one is fresh."""
    server = Server()
    first, second = server.admit(), server.admit()
    assert list(first.response_headers) == list(second.response_headers)
    server.clock.advance(0.06)
    assert reported(dict(server.admit().response_headers))["named_metrics"] == {"jobs": 3.0}


def test_refused_requests_are_reported_too() -> None:
    """A refusal carries the load, and leaves nothing counted behind."""
    run = harness(orca="json")
    requests = [run.request("square", behaviour=Behaviour(seconds=1.0)) for _ in range(1010)]
    refused = [request for request in requests if request.code == "queue-full"]
    assert refused
    assert reported(dict(refused[-1].submission.response_headers))
    run.advance(600.0)
    assert not [request for request in requests if request.code is None]


@pytest.mark.parametrize(
    ("orca", "asked", "form"),
    [
        ("off", "json", None),
        ("asked", None, None),
        ("asked", "TEXT", "TEXT"),
        ("asked", "nonsense", None),
        ("json", None, "JSON"),
        ("json", "text", "TEXT"),
        ("text", "nonsense", "TEXT"),
    ],
)
def test_who_gets_a_report(orca: str, asked: str | None, form: str | None) -> None:
    """By default none; a format that is not known counts as not asked."""
    headers = {} if asked is None else {"endpoint-load-metrics-format": asked}
    request = harness(orca=orca).request("square", headers=headers)
    found = dict(request.submission.response_headers).values()
    assert [value.split()[0] for value in found] == [form] * (form is not None)


# ---- gauges


def status(queued: int, running: int) -> dict[str, Any]:
    idle = {"queued": 0, "queued_bytes": 0, "running": 0}
    workers = {"workers": [{"state": "ready"}]}
    pools = dict.fromkeys(app_under_test().pools, workers)
    pools[app_under_test().endpoints[0].pool] = {"workers": [{"state": "ready"}] * 2}
    loaded = {"queued": queued, "queued_bytes": 0, "running": running}
    return {
        "ready": True,
        "draining": False,
        "endpoints": {"rest": idle, "square": loaded, "embed": loaded},
        "pools": pools,
    }


def test_utilization_knows_batches_and_slots() -> None:
    """Eight jobs that go into one batch are one worker's work; eight others, for two workers, are four times theirs."""
    app = app_under_test()
    found = utilization_by_pool(app, status(queued=6, running=2))
    assert found[app.endpoints[0].pool] == 4.0
    assert found[app.endpoints[1].pool] == 1.0
    assert found["trio"] == 0.0


def test_gauges_have_the_names_that_were_asked_for() -> None:
    """They have no labels, and are for the whole server."""
    names = {"vllm:num_requests_waiting": "queued_jobs", "load": "utilization", "running": "running_jobs"}
    settings = MetricsSettings(gauges=names, process=False)  # type: ignore[arg-type]
    plugin, app = MetricsPlugin(settings), app_under_test()
    (route,) = plugin.penstock_routes(app)

    class Engine:
        def status(self) -> dict[str, Any]:
            return status(queued=6, running=2)

    request = RouteRequest(
        request_id="", method="GET", path="/", header=lambda _: None, query="", address="", principal=None
    )
    page = route.handler(request, Engine()).body.decode()
    samples = [s for family in parser.text_string_to_metric_families(page) for s in family.samples]
    found = {sample.name: sample.value for sample in samples if not sample.labels and sample.name in names}
    assert found == {"vllm:num_requests_waiting": 12.0, "load": 4.0, "running": 4.0}


@pytest.mark.parametrize("name", ["penstock_mine", "process_mine", "two words", "", "1st", "x" * 101, "naïve"])
def test_a_name_that_is_taken_or_not_valid_is_refused(name: str) -> None:
    """Two metrics of one name would make the whole page invalid."""
    with pytest.raises(ValueError, match="not a name for a gauge"):
        MetricsSettings(gauges={name: "queued_jobs"})
