"""The conformance suite of job stores: everything that an engine relies on, as tests for pytest.

For a store of your own, write a class whose name begins with ``Test``::

    class TestMyStore(JobStoreSuite):
        def open_store(self, limits: StoreLimits) -> JobStore: ...
        def age_owners(self, store: JobStore, seconds: float) -> None: ...
"""

from __future__ import annotations

from penstock.testing.claim_rules import ClaimRules, RunRules
from penstock.testing.owner_rules import CountRules, DeliveryRules, OwnerRules
from penstock.testing.put_rules import CallerRules, PutRules


class JobStoreSuite(PutRules, CallerRules, ClaimRules, RunRules, OwnerRules, DeliveryRules, CountRules):
    """The rules of a job store. ``open_store`` and ``age_owners`` are to be defined: see ``StoreRules``."""
