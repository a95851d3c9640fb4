"""What a request passes: the places first, and then the rates."""

from __future__ import annotations

from limits.errors import StorageError

from penstock.errors import RateLimited, Unavailable
from penstock.hooks import JobAnswered, Release, Submission
from penstock_ratelimit.callers import CallerOf
from penstock_ratelimit.places import Places
from penstock_ratelimit.rates import Rate
from penstock_ratelimit.sharing import PAUSE_SECONDS, Outage


class Gate:
    """The limits that hold for a request.

    Parameters
    ----------
    caller_of:
        Whom it counts against.
    rates:
        The shortest time first.
    places:
        How many at a time, or None for any number.
    outage:
        Of what the rates are kept in, if that can fail.
    refuses_when_out:
        Whether requests are refused then.
    """

    __slots__ = ("_caller_of", "_outage", "_places", "_policy", "_rates", "_refuses_when_out")

    def __init__(
        self,
        caller_of: CallerOf,
        rates: tuple[Rate, ...],
        places: Places | None,
        *,
        outage: Outage | None = None,
        refuses_when_out: bool = False,
    ) -> None:
        self._caller_of = caller_of
        self._rates = rates
        self._places = places
        self._outage = outage
        self._refuses_when_out = refuses_when_out
        parts = [] if places is None else [places.policy]
        self._policy = ("ratelimit-policy", ", ".join([*parts, *(rate.policy for rate in rates)]))

    def __repr__(self) -> str:
        return f"<Gate {self._policy[1]}>"

    def admit(self, submission: Submission) -> Release | None:
        """Count the request; returns how to give its place back, if it has taken one.

        Raises
        ------
        RateLimited
            If the caller is over a limit.
        Unavailable
            If that cannot be known, and requests are refused then.
        """
        caller = self._caller_of(submission)
        places = self._places
        told: list[str] = []
        if places is None:
            self._count(caller, told, submission)
            return None
        left = places.take(caller)
        if left is None:
            self._tell(submission, [places.told(0)])
            raise RateLimited(
                f"{places.most} of your requests are under way, and no more may be at a time; wait for one to end"
            )
        try:
            told.append(places.told(left))
            self._count(caller, told, submission)
        except BaseException:
            places.give_back(caller)
            raise
        return _give_back(places, caller)

    def _count(self, caller: str, told: list[str], submission: Submission) -> None:
        """Count it against the rates, and tell the caller what they say; whatever becomes of the request."""
        try:
            if self._outage is None:
                self._hit(caller, told)
            else:
                self._hit_shared(caller, told, self._outage)
        finally:
            self._tell(submission, told)

    def _hit(self, caller: str, told: list[str]) -> None:
        for rate in self._rates:
            reading = rate.hit(caller)
            told.append(reading.told)
            if not reading.admitted:
                raise RateLimited(
                    f"no more than {rate.quota} for each caller; send the next in {reading.seconds} s",
                    retry_after=reading.seconds,
                )

    def _hit_shared(self, caller: str, told: list[str], outage: Outage) -> None:
        if outage.may_ask():
            try:
                self._hit(caller, told)
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

    def _tell(self, submission: Submission, told: list[str]) -> None:
        submission.response_headers.append(self._policy)
        if told:
            submission.response_headers.append(("ratelimit", ", ".join(told)))


def _give_back(places: Places, caller: str) -> Release:
    def release(_: JobAnswered) -> None:
        places.give_back(caller)

    return release
