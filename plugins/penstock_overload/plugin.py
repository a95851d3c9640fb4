"""The plug-in: which discipline an endpoint's queue has, and how urgent a request is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from penstock.errors import MalformedRequest
from penstock.hooks import (
    PRIORITIES,
    App,
    Endpoint,
    PluginSettings,
    Priority,
    Queue,
    Submission,
    hookimpl,
    require_endpoints,
)
from penstock_overload.disciplines import Adaptive, CoDel, Discipline, EarliestDeadlineFirst, Fifo, Lifo

HEADER: Final = "x-request-priority"

DISCIPLINES: Final[Mapping[str, type[Discipline]]] = {
    "adaptive": Adaptive,
    "fifo": Fifo,
    "lifo": Lifo,
    "edf": EarliestDeadlineFirst,
    "codel": CoDel,
}

_RANK: Final = {priority: rank for rank, priority in enumerate(PRIORITIES)}


class OverloadSettings(PluginSettings, frozen=True, kw_only=True):
    """What an operator decides.

    Parameters
    ----------
    discipline:
        In what order jobs wait. The default is what the study in docs/overload-study.md says.
    priorities:
        How urgent the requests of a principal are, by the principal's name.
    endpoint_priorities:
        How urgent the requests for an endpoint are, by its name, where nothing is said of the principal.
    """

    discipline: Literal["adaptive", "fifo", "lifo", "edf", "codel"] = "adaptive"
    priorities: dict[str, Priority] = msgspec.field(default_factory=dict)
    endpoint_priorities: dict[str, Priority] = msgspec.field(default_factory=dict)


class OverloadPlugin:
    """Decides the order in the queues, and reads ``X-Request-Priority``.

    Parameters
    ----------
    settings:
        See ``OverloadSettings``.
    """

    Settings = OverloadSettings

    def __init__(self, settings: OverloadSettings) -> None:
        self._settings = settings

    def check(self, app: App) -> None:
        """Refuse priorities of endpoints that there are not.

        Raises
        ------
        PluginError
            If there are any.
        """
        named = self._settings.endpoint_priorities
        require_endpoints(app, named, plugin="overload", setting="endpoint_priorities")

    @hookimpl
    def penstock_queue_discipline(self) -> Callable[[], Queue]:
        """Give every endpoint a queue of the discipline that was chosen."""
        return DISCIPLINES[self._settings.discipline]

    @hookimpl
    def penstock_admission_policy(self, endpoint: Endpoint) -> Callable[[Submission], None]:
        """Set the priority of each request: what is configured, or less if the caller says so."""
        by_principal = self._settings.priorities
        usual = self._settings.endpoint_priorities.get(endpoint.name, "normal")

        def set_priority(submission: Submission) -> None:
            priority = usual
            if by_principal and submission.principal is not None:
                priority = by_principal.get(submission.principal.name, usual)
            wish = submission.header(HEADER)
            submission.priority = priority if wish is None else _less_urgent(priority, wish)

        return set_priority


def _less_urgent(priority: Priority, wish: str) -> Priority:
    """Nobody may push ahead of what the operator has decided; everybody may stand back."""
    for known in PRIORITIES:
        if known == wish.strip().lower():
            return known if _RANK[known] > _RANK[priority] else priority
    raise MalformedRequest(f"X-Request-Priority must be one of {', '.join(PRIORITIES)}, not {wish[:40]!r}")
