"""The check that a request passes: first the permits, then the rates."""

from __future__ import annotations

from functools import partial

from limits.errors import StorageError

from penstock.errors import RateLimited, Unavailable
from penstock.hooks import Release, Submission
from penstock_ratelimit.callers import CallerOf
from penstock_ratelimit.permits import Permits
from penstock_ratelimit.rates import Rate
from penstock_ratelimit.sharing import PAUSE_SECONDS, Outage


class Gate:
    """The limits that apply to a request.

    Parameters
    ----------
    caller_of:
        Returns the caller that a request counts against.
    rates:
        The rates, the shortest period first.
    permits:
        The limit on concurrent requests; None: no limit.
    outage:
        Tracks failures of the shared storage; None: the counts are in memory.
    refuses_when_out:
        True to refuse requests while the shared storage is out, False to admit them.
    """

    __slots__ = ("_caller_of", "_hit", "_permits", "_policy", "_rates", "_refuses_when_out")

    def __init__(
        self,
        caller_of: CallerOf,
        rates: tuple[Rate, ...],
        permits: Permits | None,
        *,
        outage: Outage | None = None,
        refuses_when_out: bool = False,
    ) -> None:
        self._caller_of = caller_of
        self._rates = rates
        self._permits = permits
        self._hit = self._hit_rates if outage is None else partial(self._hit_shared, outage)
        self._refuses_when_out = refuses_when_out
        items = [] if permits is None else [permits.policy]
        self._policy = ("ratelimit-policy", ", ".join([*items, *(rate.policy for rate in rates)]))

    def __repr__(self) -> str:
        return f"<Gate {self._policy[1]}>"

    def admit(self, submission: Submission) -> Release | None:
        """Count the request; return a callable that releases its permit, if it took one.

        Raises
        ------
        RateLimited
            If the caller is over a limit.
        Unavailable
            If the shared counts cannot be read, and requests are refused in that case.
        """
        caller = self._caller_of(submission)
        permits = self._permits
        if permits is None:
            self._count(caller, [], submission)
            return None
        remaining = permits.acquire(caller)
        if remaining is None:
            self._add_fields(submission, [permits.item(0)])
            raise RateLimited(
                f"you have {permits.limit} requests in progress, which is the limit; wait for one of them to end"
            )
        try:
            self._count(caller, [permits.item(remaining)], submission)
        except BaseException:
            permits.release(caller)
            raise
        return partial(permits.release, caller)

    def _count(self, caller: str, items: list[str], submission: Submission) -> None:
        """Count the request against the rates, and add the response fields whether it is admitted or refused."""
        try:
            self._hit(caller, items)
        finally:
            self._add_fields(submission, items)

    def _hit_rates(self, caller: str, items: list[str]) -> None:
        for rate in self._rates:
            admitted, seconds, item = rate.hit(caller)
            items.append(item)
            if not admitted:
                raise RateLimited(
                    f"the limit is {rate.quota} for each caller; send the next in {seconds} s", retry_after=seconds
                )

    def _hit_shared(self, outage: Outage, caller: str, items: list[str]) -> None:
        if outage.may_ask():
            try:
                self._hit_rates(caller, items)
            except StorageError as error:
                outage.failed(error)
            except RateLimited:
                outage.answered()
                raise
            else:
                outage.answered()
                return
        if self._refuses_when_out:
            raise Unavailable(
                "the rate limits cannot be checked now, so nothing was started", retry_after=PAUSE_SECONDS
            )

    def _add_fields(self, submission: Submission, items: list[str]) -> None:
        headers = submission.response_headers
        headers.append(self._policy)
        if items:
            headers.append(("ratelimit", ", ".join(items)))
