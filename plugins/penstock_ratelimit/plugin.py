"""The plug-in ``ratelimit``: an admission policy for each endpoint with limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from penstock.errors import RateLimited
from penstock.hooks import (
    App,
    Endpoint,
    EndpointDescription,
    HeaderDescription,
    Release,
    Submission,
    blocking,
    hookimpl,
    require_endpoints,
)
from penstock_ratelimit.ratelimit_settings import RateLimitSettings

if TYPE_CHECKING:  # these modules load the `limits` library, which only servers with a limit should pay for
    from penstock_ratelimit.gate_factory import GateFactory

Policy: TypeAlias = Callable[[Submission], Release | None]


class RateLimitPlugin:
    """Refuses callers that send requests too often, or too many at a time.

    Parameters
    ----------
    settings:
        The limits.
    clock:
        The monotonic clock of the counts in memory.

    Attributes
    ----------
    factory:
        Makes the gates; None if no limit is set.
    """

    Settings = RateLimitSettings

    def __init__(self, settings: RateLimitSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self.factory: GateFactory | None = None
        if settings.has_limits or settings.redis_url is not None:
            from penstock_ratelimit.gate_factory import GateFactory  # noqa: PLC0415 - it loads the `limits` library

            self.factory = GateFactory(settings, clock)

    def check(self, app: App) -> None:
        """Reject limits for endpoints that do not exist.

        Raises
        ------
        PluginError
            If a limit names an unknown endpoint; the message suggests the closest name.
        """
        require_endpoints(app, self._settings.endpoints, plugin="ratelimit", setting="endpoints")

    @hookimpl
    def penstock_admission_policy(self, endpoint: Endpoint) -> Policy | None:
        """Return the policy that admits a request if its caller is within all limits that apply to it."""
        if self.factory is None:
            return None
        default = self.factory.gate(endpoint.name, None)
        principals = {
            name: self.factory.gate(endpoint.name, limits) for name, limits in self._settings.principals.items()
        }
        if default is None and not any(principals.values()):
            return None

        if default is not None and not principals and self.factory.redis is None:
            return default.admit

        def policy(submission: Submission) -> Release | None:
            gate = default
            if principals and submission.principal is not None:
                gate = principals.get(submission.principal.name, default)
            return None if gate is None else gate.admit(submission)

        return policy if self.factory.redis is None else blocking(policy)

    @hookimpl
    def penstock_description(self) -> EndpointDescription | None:
        """Describe the headers with the limits, and the refusal, if there are limits."""
        if self.factory is None:
            return None
        return EndpointDescription(
            response_headers={
                "RateLimit-Policy": HeaderDescription("The limits that apply to the caller."),
                "RateLimit": HeaderDescription("The caller's remaining quota in each of them."),
            },
            errors=(RateLimited,),
        )
