"""The check that a request passes: first the permits, then the rates."""

from __future__ import annotations

from limits.errors import StorageError

from penstock.errors import RateLimited, Unavailable
from penstock.hooks import JobAnswered, Release, Submission
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

    __slots__ = ("_caller_of", "_outage", "_permits", "_policy", "_rates", "_refuses_when_out")

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
        self._outage = outage
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
        items: list[str] = []
        if permits is None:
            self._count(caller, items, submission)
            return None
        remaining = permits.acquire(caller)
        if remaining is None:
            self._add_fields(submission, [permits.item(0)])
            raise RateLimited(
                f"you have {permits.limit} requests in progress, which is the limit; wait for one of them to end"
            )
        try:
            items.append(permits.item(remaining))
            self._count(caller, items, submission)
        except BaseException:
            permits.release(caller)
            raise
        return _releasing(permits, caller)

    def _count(self, caller: str, items: list[str], submission: Submission) -> None:
        """Count the request against the rates, and add the response fields whether it is admitted or refused."""
        try:
            if self._outage is None:
                self._hit(caller, items)
            else:
                self._hit_shared(caller, items, self._outage)
        finally:
            self._add_fields(submission, items)

    def _hit(self, caller: str, items: list[str]) -> None:
        for rate in self._rates:
            reading = rate.hit(caller)
            items.append(reading.item)
            if not reading.admitted:
                raise RateLimited(
                    f"the limit is {rate.quota} for each caller; send the next in {reading.seconds} s",
                    retry_after=reading.seconds,
                )

    def _hit_shared(self, caller: str, items: list[str], outage: Outage) -> None:
        if outage.may_ask():
            try:
                self._hit(caller, items)
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
        submission.response_headers.append(self._policy)
        if items:
            submission.response_headers.append(("ratelimit", ", ".join(items)))


def _releasing(permits: Permits, caller: str) -> Release:
    def release(_: JobAnswered) -> None:
        permits.release(caller)

    return release
