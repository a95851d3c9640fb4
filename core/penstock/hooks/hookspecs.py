"""The hooks: what a plug-in may decide, see or add.

They are called once, while the engine and the application around it are made; what they give back is called from then
on. Nothing calls pluggy once the engine runs.

A hook that raises here stops the start, with the plug-in's name. What it has given back may raise later: a decision
fails that one job with ``hook-error`` and never another (a ``PenstockError`` is no failure but a decision: it is what
the caller is answered with); an observer is logged and counted, and serving goes on.

Where a decision needs one answer, the plug-ins are asked in turn, the last one registered first and the core's own
defaults last, until one gives something other than None. A callable that waits for something, such as a database,
carries the mark ``penstock.hooks.blocking``: it is then called in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pluggy

from penstock.app import App, Endpoint
from penstock.errors import PenstockError
from penstock.hooks.principal import Principal
from penstock.hooks.records import Record, ShutdownRequest
from penstock.hooks.routes import Route
from penstock.hooks.submission import Release, Submission
from penstock.policies import Timeouts
from penstock.scheduler import Job, Queue

PROJECT = "penstock"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def penstock_authenticator(endpoint: Endpoint | Route) -> Callable[[Submission], Principal | None] | None:
    """Decide who calls, and whether they may.

    Called for each endpoint, and for each route that is not open to everybody.

    Parameters
    ----------
    endpoint:
        What is called.

    Returns
    -------
    A callable that takes the submission and returns the principal; it raises ``Unauthorized`` or ``Forbidden``, and
    returns None for a caller who need not be known. Or None: everybody may.
    """


@hookspec(firstresult=True)
def penstock_timeout_policy(endpoint: Endpoint) -> Callable[[Submission], Timeouts | None] | None:
    """Decide how long a job may take.

    Parameters
    ----------
    endpoint:
        Whose jobs they are.

    Returns
    -------
    A callable that takes the submission and returns time-outs, or None to leave them as they are. Each limit counts
    only where it is tighter than the endpoint's. It raises ``MalformedRequest`` for what it cannot read. Or None.
    """


@hookspec
def penstock_admission_policy(endpoint: Endpoint) -> Callable[[Submission], Release | None] | None:
    """Decide whether a request may become a job, before its body is read.

    All plug-ins are asked, and the first refusal counts.

    Parameters
    ----------
    endpoint:
        What is called.

    Returns
    -------
    A callable that takes the submission, and raises a ``PenstockError`` to refuse it: ``RateLimited``, ``CircuitOpen``.
    What it returns, if that is not None, is called once with the ``JobAnswered`` when the job is over, or was refused
    by somebody else. Or None.
    """


@hookspec(firstresult=True)
def penstock_queue_discipline(endpoint: Endpoint) -> Callable[[], Queue] | None:
    """Decide in what order the endpoint's jobs run, and which of them are refused or shed.

    Parameters
    ----------
    endpoint:
        Whose queue it is.

    Returns
    -------
    A factory of queues, such as the class ``FifoQueue``; or None.
    """


@hookspec(firstresult=True)
def penstock_retry_policy(endpoint: Endpoint) -> Callable[[Job, PenstockError, float], float | None] | None:
    """Decide whether a job that has failed is tried again, and when.

    It is asked only where trying again is safe at all: no chunk has been delivered, the job has not seen two workers
    die, and the endpoint is idempotent or the code has raised ``Retryable``. A delay that ends after the job's deadline
    is a no. What ran beside a job that had to be killed runs again without anybody being asked.

    Parameters
    ----------
    endpoint:
        Whose jobs they are.

    Returns
    -------
    A callable that takes the job, the error (``WorkerLost`` or ``HandlerError``) and the instant, and returns after how
    many seconds the job is queued again, or None if the error is to be its answer. Or None. ``HandlerError.may_retry``
    says whether the endpoint's ``Retries`` name the exception, or it was ``Retryable``; ``retry_delay`` what that has
    asked for.
    """


@hookspec(firstresult=True)
def penstock_shutdown_policy(app: App) -> Callable[[ShutdownRequest], float] | None:
    """Decide how long admitted jobs have when the engine is shut down.

    Parameters
    ----------
    app:
        What is served.

    Returns
    -------
    A callable that takes who asks, why, and for how long, and returns the seconds that are granted; or None.
    """


@hookspec
def penstock_observer(app: App) -> Mapping[type[Record], Callable[[Any], None]] | None:
    """Be told what happens.

    Parameters
    ----------
    app:
        What is served.

    Returns
    -------
    For each type of record (``penstock.hooks.records``) a callable that takes one; or None. They are called in the
    engine's thread, in the middle of its work, and must not wait for anything.
    """


@hookspec
def penstock_routes(app: App) -> Iterable[Route] | None:
    """Add routes beside the endpoints.

    Parameters
    ----------
    app:
        What is served.

    Returns
    -------
    The routes; or None.
    """


@hookspec
def penstock_cli_commands() -> Iterable[Any] | None:
    """Add commands to ``penstock``.

    Returns
    -------
    ``click`` commands; or None.
    """
