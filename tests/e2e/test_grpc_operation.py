"""The life of a server with gRPC: start, health, TLS, slow clients, reload, replacement, drain and end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock_grpc.endpoints_pb2_grpc import EndpointsStub
from tests.certificates import write_certificate
from tests.e2e.grpc_calls import PATIENCE, TARGET, GrpcLoad, GrpcServed, Refused, asks, refusal, value_of
from tests.e2e.watching import wait_idle, wait_running
from tests.serving import HOST, ROOT, Served, free_port, wait_until, write_app

pytestmark = pytest.mark.e2e

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def resident_mebibytes(pid: int) -> float:
    """Return the memory that a process has, without what it shares with files."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) / 1024


def http_pid(served: GrpcServed) -> int:
    """Return the HTTP process of a server that has one."""
    return int(served.events("listening")[-1]["pid"])


# ---- end and succession


@pytest.mark.parametrize("http_workers", ["1", "2"])
def test_a_reload_loses_no_call(tmp_path: Path, http_workers: str) -> None:
    """Calls on kept and on new connections are all answered while two generations follow each other."""
    with GrpcServed("--http-workers", http_workers, marks=tmp_path) as served, GrpcLoad(served) as load:
        for generation in (2, 3):
            load.wait_for(20)
            served.process.send_signal(signal.SIGHUP)
            wait_until(
                lambda g=generation: [e for e in served.events("reloaded") if e["generation"] == g], "it", timeout=60
            )
        load.wait_for(50)
    assert set(load.outcomes) == {"ok"}, load.outcomes


def test_a_new_master_loses_no_call(tmp_path: Path) -> None:
    """The successor that SIGUSR2 starts serves the same port, and the old master leaves it without a lost call."""
    with (
        GrpcServed("--pid-file", str(tmp_path / "pid"), marks=tmp_path) as served,
        GrpcLoad(served) as load,
    ):
        load.wait_for(20)
        served.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: len(served.events("listening")) == 4, "the new master's HTTP process", timeout=30.0)
        successor = int((tmp_path / "pid.2").read_text(encoding="utf-8"))
        served.process.send_signal(signal.SIGTERM)
        served.wait()
        load.wait_for(50)
        assert set(load.outcomes) == {"ok"}, load.outcomes
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: served.survivors() == [], "the new master's end")


def test_a_stream_outlives_the_generation_that_serves_it(tmp_path: Path) -> None:
    """A long stream goes on in its old process while new calls go to the new one."""
    with GrpcServed(marks=tmp_path) as served, served.stub() as stub:
        stream = stub.Stream(asks("count", {"n": 40, "delay": 0.1}), timeout=60)
        next(stream)
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: served.events("reloaded"), "the reload", timeout=30.0)
        assert value_of(stub.Call(asks("square", {"input": 2.0}), timeout=PATIENCE)) == 4.0
        assert len(list(stream)) == 39


@pytest.mark.parametrize("http_workers", ["1", "2"])
def test_a_drain_finishes_what_runs_and_refuses_the_rest(tmp_path: Path, http_workers: str) -> None:
    """A running call and a stream end as if nothing had happened; calls under load succeed or are UNAVAILABLE."""
    with (
        GrpcServed("--http-workers", http_workers, "--drain-timeout", "20", marks=tmp_path) as served,
        served.stub() as stub,
    ):
        held = stub.Call.future(asks("hold", {"name": "a"}), timeout=PATIENCE)
        stream = stub.Stream(asks("count", {"n": 10, "delay": 0.1}), timeout=PATIENCE)
        next(stream)
        wait_running(served, "hold")
        with GrpcLoad(served) as load:
            load.wait_for(20)
            served.process.send_signal(signal.SIGTERM)
            assert len(list(stream)) == 9
            wait_until(
                lambda: any("draining" in outcome or "shutting" in outcome for outcome in load.outcomes), "a refusal"
            )
            (tmp_path / "release").touch()
            assert value_of(held.result()) == "a"
            assert served.wait() == 0
            wait_until(lambda: any("Connection refused" in outcome for outcome in load.outcomes), "the end")
    assert {outcome.partition(":")[0] for outcome in load.outcomes} == {"ok", "UNAVAILABLE"}, load.outcomes


def test_a_drain_that_runs_out_answers_what_is_left(tmp_path: Path) -> None:
    """A call that does not end in time is refused with the reason, and the server ends."""
    with GrpcServed("--drain-timeout", "1", marks=tmp_path) as served, served.stub() as stub:
        held = stub.Call.future(asks("hold", {"name": "a"}), timeout=PATIENCE)
        wait_running(served, "hold")
        served.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            held.result()
        found = Refused.of(caught.value)
        assert (found.code, found.name) == (StatusCode.UNAVAILABLE, "draining")
        assert served.wait() == 0


def test_an_immediate_stop_ends_calls(tmp_path: Path) -> None:
    """SIGQUIT waits for no call, and each gets an answer."""
    with GrpcServed(marks=tmp_path) as served, served.stub() as stub:
        held = stub.Call.future(asks("hold", {"name": "a"}), timeout=PATIENCE)
        wait_running(served, "hold")
        served.process.send_signal(signal.SIGQUIT)
        with pytest.raises(grpc.RpcError) as caught:
            held.result()
        assert caught.value.code() is StatusCode.UNAVAILABLE
        served.wait()


# ---- health


def test_health_follows_readiness(tmp_path: Path) -> None:
    """A watch sees the pools become ready, and ends when the process leaves; a check says the same."""
    app = write_app(
        tmp_path,
        """
        from penstock import App
        from tests.e2e.apps.marks import wait_for_marks

        app = App(__name__)

        @app.endpoint("/slow")
        class Slow:
            def setup(self) -> None:
                wait_for_marks("ready")

            def predict(self) -> int:
                return 1
        """,
    )
    environment = {"PYTHONPATH": str(ROOT)}
    with GrpcServed(marks=tmp_path, target=app, ready_timeout=None, environment=environment) as served:
        served.wait_for_line("grpc://")
        with served.channel() as channel:
            health = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="penstock.v1.Endpoints")
            watch = health.Watch(request, timeout=60)
            assert next(watch).status == NOT_SERVING
            assert health.Check(request, timeout=PATIENCE).status == NOT_SERVING
            (tmp_path / "ready").touch()
            assert next(watch).status == SERVING
            served.wait_ready()
            assert health.Check(request, timeout=PATIENCE).status == SERVING
            served.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.RpcError) as caught:
                list(watch)
            assert caught.value.code() is StatusCode.UNAVAILABLE
            assert served.wait() == 0


# ---- slow clients


def test_a_client_that_does_not_read_fills_no_memory(tmp_path: Path) -> None:
    """An endless stream of large chunks waits for its reader, and others are served meanwhile."""
    with GrpcServed(marks=tmp_path) as served, served.stub() as stub, served.stub() as other:
        stub.Call(asks("square", {"input": 2.0}), timeout=PATIENCE)
        pid = http_pid(served)
        before = resident_mebibytes(pid)
        stream = stub.Stream(asks("endless", {"size": 200_000}))
        next(iter(stream))
        grown = []
        for _ in range(20):
            other.Call(asks("square", {"input": 2.0}), timeout=PATIENCE)
            time.sleep(0.05)
            grown.append(resident_mebibytes(pid) - before)
        assert max(grown) < 48, grown
        for _ in range(100):  # it goes on where it stood
            next(stream)
        stream.cancel()
        wait_until((tmp_path / "endless-ended").exists, "the handler to be stopped")


def test_a_client_that_never_reads_loses_its_job(tmp_path: Path) -> None:
    """The endpoint's ``idle`` ends a stream that is not read, and the slot is free again."""
    app = write_app(
        tmp_path,
        """
        from penstock import App, Timeouts

        app = App(__name__)

        @app.endpoint("/endless", timeouts=Timeouts(idle=0.5))
        def endless():
            while True:
                yield "x" * 100_000
        """,
    )
    with GrpcServed(marks=tmp_path, target=app) as served, served.stub() as stub:
        stream = stub.Stream(asks("endless"), timeout=60)
        next(iter(stream))
        wait_idle(served, "default")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        found = Refused.of(caught.value)
        assert (found.code, found.name) == (StatusCode.CANCELLED, "cancelled")
        assert "read" in found.message
        wait_until(lambda: served.status()["grpc"]["calls"] == 0, "the call to end")


def test_a_connection_that_says_nothing_is_not_in_the_way(tmp_path: Path) -> None:
    """Neither silent connections nor ones that send rubbish hold up other clients, or the end of the server."""
    with GrpcServed(marks=tmp_path) as served:
        silent = [socket.create_connection((HOST, served.grpc_port)) for _ in range(20)]
        for number, sock in enumerate(silent):
            if number % 2:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" if number % 4 == 1 else os.urandom(1000))
        with served.stub() as stub:
            assert value_of(stub.Call(asks("square", {"input": 2.0}), timeout=PATIENCE)) == 4.0
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 10
        for sock in silent:
            sock.close()


# ---- TLS


def test_grpc_has_the_certificate_of_https(tmp_path: Path) -> None:
    """With --certfile, gRPC is served with TLS alone, by the same certificate."""
    certificate, key = write_certificate(tmp_path)
    options = ("--certfile", str(certificate), "--keyfile", str(key))
    with GrpcServed(*options, marks=tmp_path, ready_timeout=None) as served:
        served.wait_for_line(f"grpcs://{HOST}:{served.grpc_port}")
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"{HOST}:{served.grpc_port}", credentials) as channel:
            stub = EndpointsStub(channel)
            reply = stub.Call(asks("square", {"input": 2.0}), timeout=PATIENCE, wait_for_ready=True)
            assert value_of(reply) == 4.0
            assert len(list(stub.Stream(asks("count", {"n": 3}), timeout=PATIENCE))) == 3
        with served.stub() as plain:
            assert refusal(plain.Call, asks("square", {"input": 2.0}), timeout=5).code is StatusCode.UNAVAILABLE


def test_clients_may_need_a_certificate(tmp_path: Path) -> None:
    """The settings of gunicorn about the certificates of clients hold for gRPC."""
    certificate, key = write_certificate(tmp_path)
    clients, clients_key = write_certificate(tmp_path, "client")
    config = tmp_path / "config.py"
    config.write_text(f"import ssl\nca_certs = {str(clients)!r}\ncert_reqs = ssl.CERT_REQUIRED\n", encoding="utf-8")
    options = ("--certfile", str(certificate), "--keyfile", str(key), "--gunicorn-config", str(config))
    with GrpcServed(*options, marks=tmp_path, ready_timeout=None) as served:
        served.wait_for_line("grpcs://")
        address, roots = f"{HOST}:{served.grpc_port}", certificate.read_bytes()
        known = grpc.ssl_channel_credentials(roots, clients_key.read_bytes(), clients.read_bytes())
        with grpc.secure_channel(address, known) as channel:
            reply = EndpointsStub(channel).Call(asks("square", {"input": 2.0}), timeout=PATIENCE, wait_for_ready=True)
            assert value_of(reply) == 4.0
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(roots)) as channel:
            found = refusal(EndpointsStub(channel).Call, asks("square", {"input": 2.0}), timeout=5)
            assert found.code is StatusCode.UNAVAILABLE


# ---- start


def ended(*options: str, hide: str = "") -> subprocess.CompletedProcess[str]:
    """Run a server that ends by itself."""
    hidden = f"import sys; sys.modules[{hide!r}] = None; " if hide else "import sys; "
    program = f"{hidden}from penstock_cli.main import main; sys.argv[1:] = {['serve', str(TARGET), *options]!r}; main()"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_port_in_use_stops_the_start(tmp_path: Path) -> None:
    """The message names the address and the options, also if another server of this kind has it."""
    with GrpcServed(marks=tmp_path) as served:
        found = ended("--port", str(free_port()), "--grpc-port", str(served.grpc_port))
    assert found.returncode == 2
    assert f"cannot listen on {HOST} port {served.grpc_port}: Address already in use" in found.stderr
    assert "--grpc-host and --grpc-port" in found.stderr


def test_a_missing_extra_stops_the_start() -> None:
    """The message has the command that installs it."""
    found = ended("--port", str(free_port()), "--grpc-port", str(free_port()), hide="grpc_reflection")
    assert found.returncode == 2
    assert "grpc_reflection" in found.stderr
    assert "pip install 'penstock[grpc]'" in found.stderr


def test_a_host_needs_a_port() -> None:
    """--grpc-host alone would serve nothing."""
    found = ended("--grpc-host", HOST)
    assert found.returncode == 2
    assert "--grpc-host needs --grpc-port" in found.stderr


def test_only_http_processes_load_grpc_and_only_if_asked(tmp_path: Path) -> None:
    """Neither the master nor a worker of models has the library, nor does a server without the option."""

    def loads_grpc(pid: int) -> bool:
        return "cygrpc" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")

    with GrpcServed("--http-workers", "2", marks=tmp_path) as served:
        serving = {int(pid) for pid in served.status()["hosts"]}
        assert {pid for pid in served.survivors() if loads_grpc(pid)} == serving
    with Served(TARGET, environment={"TEST_MARKS_FOLDER": str(tmp_path)}) as plain:
        assert [pid for pid in plain.survivors() if loads_grpc(pid)] == []


def test_workers_start_again_beside_grpc(tmp_path: Path) -> None:
    """The processes that fork have none of gRPC's threads: a killed zygote and its workers are replaced."""
    with GrpcServed(marks=tmp_path) as served, served.stub() as stub:
        assert value_of(stub.Call(asks("square", {"input": 2.0}), timeout=PATIENCE)) == 4.0

        def workers() -> set[int]:
            return {w["pid"] for pool in served.status()["pools"].values() for w in pool["workers"]}

        before = workers()
        http = http_pid(served)
        children = Path(f"/proc/{http}/task/{http}/children").read_text(encoding="utf-8").split()
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not before & workers(), "new workers", timeout=30.0)
        served.wait_ready()
        assert value_of(stub.Call(asks("square", {"input": 3.0}), timeout=PATIENCE)) == 9.0


def test_the_environment_sets_the_port(tmp_path: Path) -> None:
    """The variables are the options, for deployments that gunicorn's own command line starts."""
    port = free_port()
    variables = {"PENSTOCK_GRPC_PORT": str(port), "PENSTOCK_GRPC_HOST": HOST}
    environment = {**variables, "TEST_MARKS_FOLDER": str(tmp_path)}
    with Served(TARGET, environment=environment), grpc.insecure_channel(f"{HOST}:{port}") as channel:
        assert value_of(EndpointsStub(channel).Call(asks("square", {"input": 2.0}), timeout=PATIENCE)) == 4.0


def test_many_calls_at_a_time_are_served(tmp_path: Path) -> None:
    """More calls than a worker takes wait in the queue, on one connection."""
    found = []
    with GrpcServed(marks=tmp_path) as served, served.stub() as stub:
        calls = [stub.Call.future(asks("square", {"input": float(n)}), timeout=60) for n in range(500)]
        found = [value_of(call.result()) for call in calls]
        wait_until(lambda: served.status()["grpc"]["calls"] == 0, "the calls to end")
    assert found == [float(n * n) for n in range(500)]
    assert threading.active_count() < 50


def test_the_event_loop_of_the_standard_library_serves_too(tmp_path: Path) -> None:
    """Nothing depends on uvloop: calls, large bodies, streams, slow readers, cancellation, and the drain."""
    config = tmp_path / "config.py"
    config.write_text("asgi_loop = 'asyncio'\n", encoding="utf-8")
    with GrpcServed("--gunicorn-config", str(config), marks=tmp_path) as served, served.stub() as stub:
        assert value_of(stub.Call(asks("length", b"x" * 5_000_000), timeout=PATIENCE)) == 5_000_000
        assert len(list(stub.Stream(asks("count", {"n": 100, "size": 10_000}), timeout=PATIENCE))) == 100
        before = resident_mebibytes(http_pid(served))
        stream = stub.Stream(asks("endless", {"size": 200_000}))
        next(iter(stream))
        time.sleep(1.0)
        assert resident_mebibytes(http_pid(served)) - before < 48
        stream.cancel()
        wait_until((tmp_path / "endless-ended").exists, "the handler to be stopped")
        with GrpcLoad(served) as load:
            load.wait_for(20)
            served.process.send_signal(signal.SIGHUP)
            wait_until(lambda: served.events("reloaded"), "the reload", timeout=60)
            load.wait_for(20)
        assert set(load.outcomes) == {"ok"}, load.outcomes
        assert served.stop() == 0
