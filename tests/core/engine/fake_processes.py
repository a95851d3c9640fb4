"""An engine without a loop or processes: time moves only on demand, and workers exist as soon as they are requested."""

from __future__ import annotations

from collections.abc import Callable

from penstock.app import App
from penstock.engine.engine import Engine
from penstock.hooks.registry import Registry
from penstock.testing.clock import MockClock
from penstock.wire import Message, Ready, Run


class Timer:
    def cancel(self) -> None:
        """Do nothing: only the test makes timers fire."""


class FakeReactor:
    """A loop in which time passes without a callback, as in a real one that is late."""

    def __init__(self) -> None:
        self.time = MockClock()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return Timer()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None: ...


class FakeLink:
    """A worker that keeps the messages that it was sent."""

    name = "shared/0"
    setup_error = ""
    pid = 1

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.sent: list[Message] = []

    def send(self, message: Message, *, at_once: bool = False) -> None:
        self.sent.append(message)

    def poll(self) -> None:
        """Do nothing: the test has passed in every message."""

    def interrupt(self, attempt: int) -> None: ...

    def on_named(self, pid: int) -> None: ...

    def distrust(self) -> None: ...

    def last_started(self) -> int:
        return 0  # it has begun no inline attempt

    def attempts(self) -> list[int]:
        return [message.attempt for message in self.sent if isinstance(message, Run)]


class FakeProcesses:
    """Workers that exist as soon as they are requested."""

    def __init__(self) -> None:
        self.links: dict[int, FakeLink] = {}

    def start(self) -> None: ...

    def spawn(self, worker: int, pool: str, place: int, device: str | None, **options: object) -> None:
        self.links[worker] = FakeLink(worker)

    def kill(self, worker: int) -> None: ...

    def close(self) -> None: ...


def engine_of(app: App, registry: Registry | None = None) -> Engine:
    """Return a started engine, whose workers have not yet said that they are ready."""
    engine = Engine(app, FakeReactor(), "no such target", registry=registry or Registry())
    engine.performer.processes = FakeProcesses()
    engine.start()
    return engine


def ready(engine: Engine) -> FakeLink:
    """Make the only worker ready, and return its link."""
    (link,) = engine.performer.processes.links.values()
    engine.performer.inbox.on_messages(link, [Ready(0.0, 1)])
    return link
