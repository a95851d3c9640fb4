"""The hooks: what a plug-in may decide.

Each is a factory. It is called once for each endpoint while the engine is made, and gives back what decides from then
on, a plain callable, or None to leave the decision to the next plug-in; the last one registered is asked first, and the
core's own defaults are asked last. Nothing calls pluggy once the engine runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from penstock.app import Endpoint
    from penstock.scheduler import Job, Queue

PROJECT = "penstock"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def penstock_queue_discipline(endpoint: Endpoint) -> Callable[[], Queue] | None:
    """Decide in what order the endpoint's jobs run.

    Parameters
    ----------
    endpoint:
        Whose queue it is.

    Returns
    -------
    A factory of queues, such as the class ``FifoQueue``; or None.
    """


@hookspec(firstresult=True)
def penstock_retry_policy(endpoint: Endpoint) -> Callable[[Job], bool] | None:
    """Decide whether a job whose worker was lost is run again.

    It is asked only where running again is safe at all: the endpoint is idempotent, no chunk has been delivered, and
    the job has not seen two workers die.

    Parameters
    ----------
    endpoint:
        Whose jobs they are.

    Returns
    -------
    A callable that takes the job, and says whether it may run again; or None.
    """
