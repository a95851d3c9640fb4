"""The user's models in one worker: built before it is ready, torn down after its last attempt."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from penstock.app import Endpoint, Pool
from penstock.app.manifest import DisagreementError
from penstock.wire import Declared
from penstock.worker.failure_reports import user_traceback

DEFAULT_DEVICE = "cpu"


class SetupError(Exception):
    """A model could not be built, or the app not imported. ``traceback`` begins at the user's first frame.

    ``declared`` is as in ``SetupFailed``.
    """

    def __init__(self, endpoint: str, traceback: str, declared: Declared | None = None) -> None:
        super().__init__(endpoint)
        self.endpoint = endpoint
        self.traceback = traceback
        self.declared = declared

    @classmethod
    def of(cls, endpoint: str, error: BaseException) -> SetupError:
        """Return a ``SetupError`` for an exception that the user's code raised."""
        return cls(endpoint, user_traceback(error), error.declared if isinstance(error, DisagreementError) else None)


class Models:
    """The functions and model instances of one pool in this worker.

    Attributes
    ----------
    predictors:
        By the endpoint's name, the callable that its attempts call: the function, or the bound ``predict``; of a
        generation loop, the bound ``admit``.
    loops:
        By the endpoint's name, the instance of each generation loop.
    """

    def __init__(self) -> None:
        self.predictors: dict[str, Callable[..., Any]] = {}
        self.loops: dict[str, Any] = {}
        self._instances: list[Any] = []

    async def build(self, pool: Pool, device: str | None) -> None:
        """Create and set up an instance of each model class, in the order of declaration.

        Runs inside the worker's loop, so that an asynchronous ``setup`` can open resources that ``predict`` uses there.

        Raises
        ------
        SetupError
            If the user's code raises anything.
        """
        for endpoint in pool.endpoints:
            try:
                model = self._create(endpoint)
                await _finished(_begin_setup(model, device))
                self._add(endpoint, model)
            except BaseException as error:  # SystemExit included: whatever ended setup must be reported
                raise SetupError.of(endpoint.name, error) from error

    def build_before_fork(self, pool: Pool, device: str | None) -> None:
        """Do what ``build`` does, but outside a loop: no loop survives a fork.

        Raises
        ------
        SetupError
            If the user's code raises anything, or returns something to be awaited.
        """
        for endpoint in pool.endpoints:
            try:
                model = self._create(endpoint)
                if inspect.isawaitable(_begin_setup(model, device)):
                    raise TypeError("setup() returned an awaitable, but with preload=True there is no event loop yet")
                self._add(endpoint, model)
            except BaseException as error:  # as above
                raise SetupError.of(endpoint.name, error) from error

    def _create(self, endpoint: Endpoint) -> Any:
        """Return a new instance of the endpoint's class; None if its handler is a function."""
        if not endpoint.is_class:
            return None
        model = endpoint.handler()
        self._instances.append(model)
        return model

    def _add(self, endpoint: Endpoint, model: Any) -> None:
        if endpoint.mode == "stepped":
            self.loops[endpoint.name] = model
            self.predictors[endpoint.name] = model.admit
        else:
            self.predictors[endpoint.name] = endpoint.handler if model is None else model.predict

    def problem(self) -> str | None:
        """Call the ``check`` methods; return why one of them has failed, or None."""
        for instance in self._instances:
            check = getattr(instance, "check", None)
            if check is None:
                continue
            try:
                verdict = check()
            except BaseException as error:  # SystemExit included: it is a failed check, not the end of this worker
                sys.stderr.write(user_traceback(error))
                return f"{type(instance).__name__}.check raised {type(error).__name__}: {error}"
            if verdict is False:
                return f"{type(instance).__name__}.check returned False"
        return None

    async def teardown(self) -> None:
        """Tear the instances down, last built first. If one raises, the others are torn down all the same."""
        for instance in reversed(self._instances):
            teardown = getattr(instance, "teardown", None)
            if teardown is None:
                continue
            try:
                await _finished(teardown())
            except BaseException as error:
                sys.stderr.write(user_traceback(error))


def _begin_setup(model: Any, device: str | None) -> Any:
    """Call the model's ``setup``, if it has one, and return what that returns: to be awaited, if it is awaitable."""
    setup = getattr(model, "setup", None)
    return None if setup is None else setup(*_device_argument(setup, device))


async def _finished(returned: Any) -> None:
    if inspect.isawaitable(returned):
        await returned


def _device_argument(setup: Callable[..., Any], device: str | None) -> tuple[str, ...]:
    """Return the device to pass, if ``setup`` takes one; a required parameter without a device gets ``cpu``."""
    parameters = list(inspect.signature(setup).parameters.values())
    if not parameters:
        return ()
    if device is not None:
        return (device,)
    return (DEFAULT_DEVICE,) if parameters[0].default is inspect.Parameter.empty else ()
