"""The conformance suite on the store in memory, and what that store does beyond it."""

from __future__ import annotations

import pytest

from penstock.job_store import JobStore, StoreLimits, StoreUnavailable
from penstock.testing import JobStoreSuite, MemoryDatabase, MemoryJobStore, MockClock
from penstock.testing.store_rules import error_of


class TestMemoryJobStore(JobStoreSuite):
    @pytest.fixture(autouse=True)
    def _database(self) -> None:
        self.database = MemoryDatabase()
        self.clock = MockClock()

    def open_store(self, limits: StoreLimits) -> JobStore:
        return MemoryJobStore(self.database, limits=limits, lease_clock=lambda: self.clock.now)

    def age_owners(self, store: JobStore, seconds: float) -> None:
        self.clock.advance(seconds)

    def test_a_closed_store_takes_nothing(self) -> None:
        """Its calls fail, rather than wait."""
        self.store.close()
        assert isinstance(error_of(self.store.get("x")), StoreUnavailable)
