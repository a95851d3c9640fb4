"""Test tools for Penstock and its extensions: a clock that moves on demand, and workers without processes.

``FakeEngine`` runs the real scheduler on these, without waiting. ``PluginHarness``, for authors of plug-ins, sends
requests through an app's policies into such an engine. ``engine_fixture`` is a real engine, for the tests of programs
that embed one. ``check`` asserts the invariants that must hold after every event. The module ``simulation`` runs random
scenarios, drawn from a seed, against the scheduler.

``MemoryJobStore`` is a store of background jobs for tests; ``JobStoreSuite`` is the specification of any such store.
"""

from penstock.testing.agenda import Agenda
from penstock.testing.clock import MockClock
from penstock.testing.engine_fixture import engine_fixture
from penstock.testing.fake_engine import FakeEngine
from penstock.testing.fake_worker import Behaviour, FakeWorker
from penstock.testing.harness import PluginHarness
from penstock.testing.invariants import InvariantBroken, check
from penstock.testing.job_store_suite import JobStoreSuite
from penstock.testing.memory_job_store import MemoryDatabase, MemoryJobStore
from penstock.testing.plugin_requests import FakeRequest

__all__ = [
    "Agenda",
    "Behaviour",
    "FakeEngine",
    "FakeRequest",
    "FakeWorker",
    "InvariantBroken",
    "JobStoreSuite",
    "MemoryDatabase",
    "MemoryJobStore",
    "MockClock",
    "PluginHarness",
    "check",
    "engine_fixture",
]
