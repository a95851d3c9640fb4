"""What Penstock is tested with, for those who extend it: a clock that stands still, workers without processes.

``FakeEngine`` runs the real scheduler on these, in no time; ``PluginHarness`` sends requests through an app's policies
into such an engine, for those who write plug-ins; ``check`` asserts what must hold after every event; the
module ``simulation`` throws everything at it that a seed can think of.
"""

from penstock.testing.clock import MockClock
from penstock.testing.fake_engine import FakeEngine
from penstock.testing.fake_worker import Agenda, Behaviour, FakeWorker
from penstock.testing.harness import FakeRequest, PluginHarness
from penstock.testing.invariants import InvariantBroken, check

__all__ = [
    "Agenda",
    "Behaviour",
    "FakeEngine",
    "FakeRequest",
    "FakeWorker",
    "InvariantBroken",
    "MockClock",
    "PluginHarness",
    "check",
]
