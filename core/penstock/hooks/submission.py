"""A request on its way to becoming a job, as the policies see it: no transport, and no body yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from penstock.app import Endpoint
from penstock.hooks.principal import Principal
from penstock.hooks.records import JobAnswered
from penstock.hooks.routes import Route
from penstock.policies import Timeouts

Priority: TypeAlias = Literal["interactive", "normal", "batch"]
PRIORITIES: Final[tuple[Priority, ...]] = ("interactive", "normal", "batch")
RANK_OF_PRIORITY: Final = {priority: rank for rank, priority in enumerate(PRIORITIES)}

Release: TypeAlias = Callable[[JobAnswered], None]
"""Given back by an admission policy to be told what became of what it has let in."""


def _no_header(_name: str) -> str | None:
    return None


class Submission:
    """One request for one endpoint, or for one route.

    Attributes
    ----------
    endpoint:
        What is called: an ``Endpoint``, or a ``Route`` of a plug-in.
    request_id:
        As in ``X-Request-Id``.
    header:
        Looks a request header up, by its name in lower case; None where there is none.
    address:
        The client's address, or "" where it is not known.
    principal:
        Who calls, once the authenticator has said so.
    timeouts:
        What the job may take, once the timeout policy has had its say. Of a route: the defaults.
    priority:
        How urgent it is among those that wait for the same endpoint.
    response_headers:
        More headers for the response, whatever it will be: pairs of a lower-case name and a value.
    """

    __slots__ = (
        "_answered",
        "_releases",
        "address",
        "endpoint",
        "header",
        "principal",
        "priority",
        "request_id",
        "response_headers",
        "timeouts",
    )

    def __init__(
        self,
        endpoint: Endpoint | Route,
        *,
        request_id: str = "",
        header: Callable[[str], str | None] = _no_header,
        address: str = "",
        principal: Principal | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.request_id = request_id
        self.header = header
        self.address = address
        self.principal = principal
        self.timeouts: Timeouts = endpoint.timeouts
        self.priority: Priority = "normal"
        self.response_headers: list[tuple[str, str]] = []
        self._releases: list[Release] = []
        self._answered: JobAnswered | None = None

    def __repr__(self) -> str:
        return f"<Submission {self.request_id} of {self.endpoint.name} by {self.share or 'nobody known'}>"

    @property
    def share(self) -> str:
        """Whom it counts against where callers share: the principal's name, or else the address."""
        return self.address if self.principal is None else self.principal.name

    def add_release(self, release: Release) -> None:
        """Have ``release`` called when the job is answered, or when it is certain that there will be none."""
        if self._answered is None:
            self._releases.append(release)
        else:  # it was given up while a policy that waits was still being asked, in its thread
            release(self._answered)

    @property
    def has_releases(self) -> bool:
        """Whether anybody waits to be told what became of it."""
        return bool(self._releases)

    def close(self, answered: JobAnswered) -> None:
        """Tell those who let it in what became of it. Once; harmless when repeated."""
        self._answered = answered
        releases, self._releases = self._releases, []
        for release in releases:
            release(answered)
