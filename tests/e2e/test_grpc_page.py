"""The page about gRPC: what it shows works as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from grpc import StatusCode

from penstock_grpc.status_table import BY_CODE
from tests.e2e.grpc_calls import GrpcServed
from tests.serving import HOST, ROOT
from tests.test_docs_blocks import blocks_of

pytestmark = pytest.mark.e2e

PAGE = ROOT / "docs" / "how-to" / "grpc.md"
ADDRESS = "127.0.0.1:50051"
# Not for callers of endpoints, or the base of others in the table.
UNLISTED = {"unavailable", "deadline-exceeded", "internal-error"}


def test_the_client_of_the_page_uses_the_app_of_the_page(tmp_path: Path) -> None:
    """The first block is served, and the second one runs against it and prints what the page says."""
    app, program = blocks_of(PAGE)
    target = tmp_path / "square.py"
    target.write_text(app, encoding="utf-8")
    assert ADDRESS in program
    with GrpcServed(marks=tmp_path, target=target) as served:
        command = [sys.executable, "-c", program.replace(ADDRESS, f"{HOST}:{served.grpc_port}")]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    last = re.findall(r"``(INVALID_ARGUMENT .*?) ``", PAGE.read_text(encoding="utf-8"))
    assert ran.stdout.splitlines() == ["16.0", "0", "1", "2", *last]


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    """Each code of an endpoint's errors is listed with its status."""
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \| (`.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {}
    for statuses, codes in rows:
        names, found = re.findall(r"`([A-Z_]+)`", statuses), re.findall(r"`([a-z-]+)`", codes)
        listed.update(zip(found, names if len(names) > 1 else names * len(found), strict=True))
    of_jobs = {code for code in BY_CODE if code.startswith(("job-", "store-", "idempotency-", "invalid-w"))}
    assert listed == {code: status.name for code, status in BY_CODE.items() if code not in UNLISTED | of_jobs}
    assert StatusCode.INTERNAL.name in listed.values()
