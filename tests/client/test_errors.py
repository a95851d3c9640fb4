"""The tree of errors: the server's, by name and code, and the client's own."""

from __future__ import annotations

import inspect
import pickle

import pytest

import penstock.errors
import penstock.job_store
from penstock_client import errors
from penstock_client.failures import error_of_response

# A mistake in the app, and an exception of a handler, which no caller sees as such.
NOT_SENT = {"PenstockError", "DeclarationError", "PluginError", "EngineError", "Retryable"}
SERVERS = {name: kind for name, kind in inspect.getmembers(penstock.errors, inspect.isclass) if name not in NOT_SENT}


def problem(code: str) -> bytes:
    return f'{{"type": "urn:penstock:{code}", "error": {{"code": "{code}", "param": "n"}}}}'.encode()


@pytest.mark.parametrize("name", SERVERS)
def test_each_error_of_the_server_has_its_class(name: str) -> None:
    """An embedding program and a remote one catch the same name; its code and status are the server's."""
    theirs = SERVERS[name]
    ours = error_of_response(theirs.status, {}, problem(theirs.code))
    assert isinstance(ours, getattr(errors, name))
    assert isinstance(ours, errors.ResponseError)
    assert (ours.code, ours.server_code, ours.param) == (theirs.code, theirs.code, "n")


@pytest.mark.parametrize("name", SERVERS)
def test_the_trees_have_the_same_branches(name: str) -> None:
    """A class that catches others on the server catches them here too."""
    theirs = {kind.__name__ for kind in SERVERS[name].__mro__} & SERVERS.keys()
    ours = error_of_response(SERVERS[name].status, {}, problem(SERVERS[name].code))
    assert theirs <= {kind.__name__ for kind in type(ours).__mro__}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.MalformedRequest),
        (402, errors.ResponseError),
        (429, errors.RateLimited),
        (500, errors.InternalError),
        (502, errors.ResponseError),
        (503, errors.Unavailable),
        (504, errors.DeadlineExceeded),
    ],
)
def test_an_unknown_code_goes_by_the_status(status: int, kind: type[errors.ResponseError]) -> None:
    """A server that is newer, or not Penstock, is understood by its status."""
    error = error_of_response(status, {}, problem("brand-new"))
    assert (type(error), error.server_code) == (kind, "brand-new")


def test_an_error_can_be_pickled() -> None:
    """It goes through process pools with all that it knows."""
    error = error_of_response(503, {"retry-after": "2"}, problem("queue-full"))
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def test_every_error_has_the_same_attributes() -> None:
    """The client's own errors have them too, with plain defaults."""
    for _, kind in inspect.getmembers(errors, lambda kind: inspect.isclass(kind) and issubclass(kind, Exception)):
        assert {"retryable", "retry_after", "request_id", "attempts", "may_have_run", "partial"} <= vars(kind()).keys()


# These are defined beside the store of background jobs.
OF_JOBS = ["JobNotFound", "JobGone", "JobNotFinal", "IdempotencyMismatch", "StoreFull", "StoreUnavailable"]


@pytest.mark.parametrize("name", OF_JOBS)
def test_each_error_of_background_jobs_has_its_class(name: str) -> None:
    """Its code, status and branch are the server's."""
    theirs = getattr(penstock.job_store, name)
    ours = error_of_response(theirs.status, {}, problem(theirs.code))
    assert type(ours) is getattr(errors, name)
    assert (ours.code, ours.status) == (theirs.code, theirs.status)
    assert isinstance(ours, errors.Unavailable) == issubclass(theirs, penstock.errors.Unavailable)
