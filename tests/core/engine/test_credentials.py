from __future__ import annotations

from penstock.app import App
from penstock.context import Context
from penstock.hooks import Submission
from penstock.wire import Run
from tests.core.engine.fake_processes import engine_of, ready

app = App(__name__)


@app.endpoint("/whoami")
def whoami(ctx: Context) -> str:
    return ctx.headers["authorization"]


def test_a_handler_does_not_see_the_credential_of_its_caller() -> None:
    """The headers by which the authenticator has identified the caller never reach a worker; all others do."""
    engine = engine_of(app)
    link = ready(engine)
    submission = Submission(engine.endpoint("whoami"))
    submission.credential_headers = ("authorization", "x-api-key")
    headers = {"authorization": "Bearer secret", "user-agent": "test"}
    engine.submit(submission, b"", headers=headers)
    (run,) = link.sent
    assert isinstance(run, Run)
    assert run.works[0].about is not None
    assert run.works[0].about.headers == {"user-agent": "test"}
    assert "authorization" in headers
