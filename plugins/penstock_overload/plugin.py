"""The plug-in: it selects the queue discipline of each endpoint and the priority of each request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from penstock.errors import MalformedRequest
from penstock.hooks import (
    PRIORITIES,
    App,
    Endpoint,
    EndpointDescription,
    HeaderDescription,
    HeaderNames,
    PluginSettings,
    Priority,
    Queue,
    Submission,
    hookimpl,
    require_endpoints,
)
from penstock_overload.disciplines import Adaptive, CoDel, Discipline, EarliestDeadlineFirst, Fifo, Lifo

HEADER: Final = "x-request-priority"
_HEADERS: Final = HeaderNames([HEADER])

DISCIPLINES: Final[Mapping[str, type[Discipline]]] = {
    "adaptive": Adaptive,
    "fifo": Fifo,
    "lifo": Lifo,
    "edf": EarliestDeadlineFirst,
    "codel": CoDel,
}

_RANK: Final = {priority: rank for rank, priority in enumerate(PRIORITIES)}


class OverloadSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings for overload.

    Parameters
    ----------
    discipline:
        The queue discipline. The default is the result of the study in docs/overload-study.md.
    priorities:
        The priority of a principal's requests, by the principal's name.
    endpoint_priorities:
        The priority of an endpoint's requests, by the endpoint's name. It applies to principals not in ``priorities``.
    """

    discipline: Literal["adaptive", "fifo", "lifo", "edf", "codel"] = "adaptive"
    priorities: dict[str, Priority] = msgspec.field(default_factory=dict)
    endpoint_priorities: dict[str, Priority] = msgspec.field(default_factory=dict)


class OverloadPlugin:
    """The plug-in that provides the queue disciplines and reads ``X-Request-Priority``.

    Parameters
    ----------
    settings:
        The settings for overload.
    """

    Settings = OverloadSettings

    def __init__(self, settings: OverloadSettings) -> None:
        self._settings = settings

    def check(self, app: App) -> None:
        """Reject priorities for endpoints that the app does not have.

        Raises
        ------
        PluginError
            If the setting ``endpoint_priorities`` names such an endpoint.
        """
        named = self._settings.endpoint_priorities
        require_endpoints(app, named, plugin="overload", setting="endpoint_priorities")

    @hookimpl
    def penstock_queue_discipline(self) -> Callable[[], Queue]:
        """Use a queue of the configured discipline for every endpoint."""
        return DISCIPLINES[self._settings.discipline]

    @hookimpl
    def penstock_admission_policy(self, endpoint: Endpoint) -> Callable[[Submission], None]:
        """Set the priority of each request: the configured one, or a lower one that the caller asks for."""
        by_principal = self._settings.priorities
        usual = self._settings.endpoint_priorities.get(endpoint.name, "normal")

        def set_priority(submission: Submission) -> None:
            priority = usual
            if by_principal and submission.principal is not None:
                priority = by_principal.get(submission.principal.name, usual)
            if submission.has_any_header(_HEADERS):
                priority = _less_urgent(priority, submission.header(HEADER) or "")
            if priority != "normal":  # which it is from the start, unless another plug-in has set it
                submission.priority = priority

        return set_priority

    @hookimpl
    def penstock_description(self) -> EndpointDescription:
        """Describe the header in which a caller may ask for a lower priority."""
        text = "The priority of the request. A caller may lower its own, and never raise it."
        schema = {"type": "string", "enum": list(PRIORITIES)}
        return EndpointDescription(request_headers={"X-Request-Priority": HeaderDescription(text, schema)})


def _less_urgent(priority: Priority, requested: str) -> Priority:
    """Return the less urgent of the two: a caller may lower the priority set by the operator, never raise it."""
    for known in PRIORITIES:
        if known == requested.strip().lower():
            return known if _RANK[known] > _RANK[priority] else priority
    raise MalformedRequest(f"X-Request-Priority must be one of {', '.join(PRIORITIES)}, not {requested[:40]!r}")
