"""The deliveries that one sender holds. If the answer to a claim is lost, what was claimed becomes due again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

import trio

from penstock.job_store import DeliveryKey, JobDelivery, JobStore

T = TypeVar("T")


class DeliveryClaims:
    """Claims deliveries, one call at a time, on the sender's thread.

    Parameters
    ----------
    store:
        The store.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._held: set[DeliveryKey] = set()
        self._is_unsure = False

    def __repr__(self) -> str:
        return f"<DeliveryClaims: {len(self._held)} held>"

    async def claim(self, owner: str, number: int, now: float) -> Sequence[JobDelivery]:
        """Claim deliveries that are due. If an earlier answer was lost, its deliveries are first made due again."""
        try:
            if self._is_unsure:
                await outcome(self._store.keep_deliveries(owner, self._held))
                self._is_unsure = False
            claimed = await outcome(self._store.claim_deliveries(owner, number, now=now))
        except Exception:
            self._is_unsure = True  # the store may have handed out deliveries
            raise
        self._held.update(delivery.key for delivery in claimed)
        return claimed

    def end(self, delivery: JobDelivery) -> None:
        """Note that a delivery is settled."""
        self._held.discard(delivery.key)


async def outcome(future: Future[T]) -> T:
    """Wait for a call of the store, which ends on another thread."""
    is_done = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def note(_: Future[T]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(is_done.set)

    future.add_done_callback(note)
    await is_done.wait()
    return future.result()
