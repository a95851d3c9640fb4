"""An engine without a loop and without processes: time stands still, and workers are there when they are asked for."""

from __future__ import annotations

from collections.abc import Callable

from penstock.app import App
from penstock.engine.engine import Engine
from penstock.hooks.registry import Registry
from penstock.testing.clock import MockClock
from penstock.wire import Message, Ready, Run


class Timer:
    def cancel(self) -> None:
        """Nothing rings here unless the test says so."""


class FakeReactor:
    """A loop in which time passes, and nobody is called: as in a real one that is late."""

    def __init__(self) -> None:
        self.time = MockClock()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return Timer()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None: ...


class FakeLink:
    """A worker that remembers what it was sent."""

    name = "shared/0"
    setup_error = ""
    pid = 1

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.sent: list[Message] = []

    def send(self, message: Message, *, at_once: bool = False) -> None:
        self.sent.append(message)

    def poll(self) -> None:
        """Nothing has arrived that was not told."""

    def interrupt(self, attempt: int) -> None: ...

    def last_started(self) -> int:
        return 0  # it has begun no inline attempt

    def attempts(self) -> list[int]:
        return [message.attempt for message in self.sent if isinstance(message, Run)]


class FakeProcesses:
    """Workers that are there as soon as they are asked for."""

    def __init__(self) -> None:
        self.links: dict[int, FakeLink] = {}

    def start(self) -> None: ...

    def spawn(self, worker: int, pool: str, place: int, device: str | None) -> None:
        self.links[worker] = FakeLink(worker)

    def kill(self, worker: int) -> None: ...

    def close(self) -> None: ...


def engine_of(app: App, registry: Registry | None = None) -> Engine:
    """Make a started engine, whose workers are still to say that they are ready."""
    engine = Engine(app, FakeReactor(), "no such target", registry=registry or Registry())
    engine.performer.processes = FakeProcesses()
    engine.start()
    return engine


def ready(engine: Engine) -> FakeLink:
    """Let the only worker be ready."""
    (link,) = engine.links.values()
    engine.performer.inbox.on_messages(link, [Ready(0.0, 1)])
    return link
