"""The errors of a job store, with the status and the code that each one has over HTTP.

::

    PenstockError
    ├── JobNotFound            404 job-not-found          no such job
    ├── JobGone                410 job-gone               its retention has ended
    ├── JobNotFinal            409 job-not-final          it has not ended yet
    ├── IdempotencyMismatch    422 idempotency-mismatch   the id or key belongs to another request
    ├── Unavailable
    │   ├── StoreFull          503 store-full *           nothing was stored
    │   └── StoreUnavailable   503 store-unavailable *    the database does not answer
    └── EngineError
        ├── StoreRejected      -   the store cannot be opened: raised at start-up
        └── OwnerLost          -   the engine is not, or no longer, an owner: its jobs are another's

``IdTaken`` is between a database and its store, and never reaches a caller.
"""

from __future__ import annotations

from penstock.errors import EngineError, PenstockError, Unavailable


class JobNotFound(PenstockError):
    """There is no job with this id, or it belongs to another caller."""

    status = 404
    code = "job-not-found"
    title = "No such job"


class JobGone(PenstockError):
    """The result has been removed: its retention has ended."""

    status = 410
    code = "job-gone"
    title = "The result has been removed"


class JobNotFinal(PenstockError):
    """The job has not ended, so it can be neither deleted nor run anew."""

    status = 409
    code = "job-not-final"
    title = "The job has not ended"


class IdempotencyMismatch(PenstockError):
    """The job's id, or the idempotency key, was used before with another request."""

    status = 422
    code = "idempotency-mismatch"
    title = "The id belongs to another request"


class StoreFull(Unavailable):
    """The store has as many jobs or bytes as it may. Nothing was stored."""

    code = "store-full"
    title = "The job store is full"
    default_retryable = True


class StoreUnavailable(Unavailable):
    """The database does not answer. A change may have been stored, if only the answer to it was lost."""

    code = "store-unavailable"
    title = "The job store does not answer"
    default_retryable = True


class StoreRejected(EngineError):
    """The store cannot be opened: its file is corrupt, newer than this version, or in an unsuitable place."""

    code = "store-rejected"
    title = "The job store cannot be opened"


class OwnerLost(EngineError):
    """The engine is not registered with the store, which may have given its jobs to others."""

    code = "owner-lost"
    title = "The engine owns nothing in this store"


class IdTaken(Exception):
    """Another transaction has inserted the id or the key since this one looked. The operation is to be repeated."""
