"""Programs with clients of the Open Inference Protocol, unmodified, against a real server that speaks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.clients.judges import FOLDER, Judge, cases_of, faults_of
from tests.serving import HOST, Served, free_port

pytestmark = pytest.mark.e2e

APP = str(FOLDER / "inferring_app.py")
LARGE = ("--max-body", "600MiB")
JUDGES = [
    Judge("tritonclient", "tests"),
    Judge("tritonclient", "mlserver"),
    Judge("mlserver", "mlserver"),
    Judge("kserve", "kserve"),
]
GRPC = [Judge("tritonclient_grpc", "mlserver"), Judge("kserve_grpc", "kserve")]
WAYS = {"prefix": (), "http-workers": ("--http-workers", "2"), "compress": ("--compress",)}


@pytest.fixture(scope="module")
def inferring() -> Iterator[Served]:
    with Served(APP, *LARGE) as served:
        yield served


@pytest.mark.parametrize(("judge", "check"), list(cases_of(JUDGES)))
def test_an_inference_client_is_content(inferring: Served, judge: Judge, check: str) -> None:
    """It reads what it expects, and raises nothing."""
    fault = faults_of(judge, inferring.base_url)[check]
    assert fault is None, fault


@pytest.fixture(scope="module")
def grpc_url() -> Iterator[str]:
    port = free_port()
    with Served(APP, *LARGE, "--grpc-port", str(port)):
        yield f"grpc://{HOST}:{port}"


@pytest.mark.skipif(find_spec("penstock_grpc") is None, reason="this server does not speak gRPC")
@pytest.mark.parametrize(("judge", "check"), list(cases_of(GRPC)))
def test_a_client_with_grpc_is_content(grpc_url: str, judge: Judge, check: str) -> None:
    """It reads what it expects, and raises nothing."""
    fault = faults_of(judge, grpc_url)[check]
    assert fault is None, fault


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
def test_a_client_is_content_with_another_server(way: str) -> None:
    """With a prefix, which is a part of its address; with several HTTP processes; with compressed answers."""
    path = "/triton" if way == "prefix" else ""
    with Served(APP, *LARGE, *WAYS[way], environment={"PENSTOCK_OIP_PREFIX": path}) as served:
        found = faults_of(Judge("tritonclient", "tests"), f"{served.base_url}{path}")
    assert {check: fault for check, fault in found.items() if fault} == {}


@pytest.mark.thorough
def test_a_client_is_content_with_a_key(tmp_path: Path) -> None:
    """Sent by the client's own kind of plug-in; without it, its requests are refused."""
    keys = str(tmp_path / "keys")
    command = [sys.executable, "-m", "penstock_cli", "keys", "new", "alice", "--file", keys]
    key = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()[0]
    judge = Judge("tritonclient", "tests")
    with Served(APP, *LARGE, environment={"PENSTOCK_AUTH_KEYS_FILE": keys}) as served:
        found = faults_of(judge, served.base_url, key)
        without = faults_of(judge, served.base_url)
    assert {check: fault for check, fault in found.items() if fault} == {}
    assert "[401]" in str(without["check_ids"])


@pytest.mark.soak
def test_very_large_tensors_pass() -> None:
    """256 MB in each direction, and compressed."""
    with Served(APP, *LARGE) as served:
        found = faults_of(Judge("large_tensor", "tests"), served.base_url)
    assert {check: fault for check, fault in found.items() if fault} == {}
