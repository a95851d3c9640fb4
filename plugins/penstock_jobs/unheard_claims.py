"""Claims whose answers were lost on the way: the store has made them, and this engine does not know of their jobs.

The connection to a database may be cut after a commit and before its answer. Such jobs would stay with
this engine as long as it lives, and not run.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

from penstock.job_store import OwnerLost

Then: TypeAlias = Callable[["Future[int]", Callable[[int], None], Callable[[BaseException], None]], None]
"""``StoreKeeper.then``."""


class UnheardClaims:
    """The claims that one engine may not have heard of. All methods run on the engine's thread.

    Parameters
    ----------
    put_back:
        Has the store put back what this engine does not know of.
    then:
        Has the result of that brought to the engine's thread.

    Attributes
    ----------
    may_exist:
        True from a lost answer until the store has put back what that may have been about. Nothing may be claimed
        meanwhile: the store could not tell the new claims from the lost ones.
    on_settled:
        Called when that has happened.
    """

    def __init__(self, put_back: Callable[[], Future[int]], then: Then) -> None:
        self._put_back, self._then = put_back, then
        self._under_way = 0
        self._is_asking = False
        self.may_exist = False
        self.on_settled: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<UnheardClaims: {'there may be some' if self.may_exist else 'none'}>"

    def begin(self) -> None:
        """Note that a claim is under way."""
        self._under_way += 1

    def end(self, error: BaseException | None) -> None:
        """Note the answer to a claim, or the lack of one."""
        self._under_way -= 1
        if error is not None and not isinstance(error, OwnerLost):
            self.may_exist = True

    def suspect(self) -> None:
        """Note that the store may not have put a job back."""
        self.may_exist = True

    def settle(self) -> None:
        """Have them put back, as soon as no claim is under way. To be called again until ``may_exist`` is False."""
        if self.may_exist and not self._under_way and not self._is_asking:
            self._is_asking = True
            self._then(self._put_back(), self._settled, self._failed)

    def _settled(self, _number: int) -> None:
        self._is_asking = self.may_exist = False
        self.on_settled()

    def _failed(self, _error: BaseException) -> None:
        self._is_asking = False
