"""The master's signs of life for its supervisor."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from gunicorn.arbiter import Arbiter

from penstock.testing.clock import MockClock
from penstock_gunicorn import arbiter as module
from penstock_gunicorn.arbiter import PenstockArbiter


def test_signs_of_life_need_an_http_process_with_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """If all hang, or there is none, the supervisor is to find out; one that works is enough."""
    clock = MockClock()
    signs: list[float] = []
    monkeypatch.setattr(module.time, "monotonic", clock)
    monkeypatch.setattr(Arbiter, "__init__", lambda self, app: setattr(self, "app", app))
    supervisor = SimpleNamespace(sign_of_life=signs.append, ready=lambda: None)
    arbiter = PenstockArbiter(SimpleNamespace(supervisor=supervisor))
    arbiter.timeout = 10
    arbiter._num_workers = 1
    for ages, is_alive in (([], False), ([11.0], False), ([1.0], True), ([11.0, 1.0], True)):
        updates = [clock.now - age for age in ages]
        arbiter.WORKERS = {
            pid: SimpleNamespace(tmp=SimpleNamespace(last_update=lambda at=at: at)) for pid, at in enumerate(updates)
        }
        signs.clear()
        arbiter._notify_supervisor()
        assert bool(signs) == is_alive
