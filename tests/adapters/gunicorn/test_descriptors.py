"""The limit on open files, and on connections."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from penstock_gunicorn.descriptors import most_connections


@pytest.mark.parametrize(
    ("limit", "workers", "connections"), [(256, 1, 176), (256, 40, 64), (1 << 20, 100, (1 << 20) - 1664)]
)
def test_workers_have_their_descriptors(limit: int, workers: int, connections: int) -> None:
    """Connections get what the workers and a reserve leave of the limit, and at least a quarter of it."""
    assert most_connections(limit, workers) == connections


def test_a_limit_that_is_too_low_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """The line names the lowest limit that is not reported."""
    most_connections(64, 1)
    assert "allow 107 or more" in caplog.text
    caplog.clear()
    most_connections(107, 1)
    assert not caplog.text


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """A process with a low soft limit gets its hard one."""
    program = (
        "import resource as r; from penstock_gunicorn.descriptors import raise_descriptor_limit as up;"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, 200)); print(up(), *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 200
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "200 200 200\n"
