"""The routes of a shared engine, which are answered beside it."""

from __future__ import annotations

from penstock.engine.sharing.host_messages import AskRoute, RouteAnswer, fault_of
from penstock.engine.sharing.hosted_requests import submission_of
from penstock.engine.sharing.remote_admission import internal_error
from penstock.engine.sharing.shared_engine import SharedEngine
from penstock.errors import PenstockError
from penstock.hooks.routes import RouteRequest


def answer_of_route(shared: SharedEngine, message: AskRoute) -> RouteAnswer:
    """Return the answer of the route that a host has asked."""
    facts = message.request
    route = shared.routes[message.route]
    submission = submission_of(route, facts)
    request = RouteRequest(
        request_id=facts.request_id,
        method=message.method,
        path=message.path,
        header=submission.header,
        path_values=message.path_values,
        query=facts.query,
        address=facts.address,
        principal=submission.principal,
        body=message.body,
    )
    try:
        answer = route.handler(request, shared.engine)
    except PenstockError as error:
        return RouteAnswer(message.question, refusal=fault_of(error))
    except Exception as error:
        return RouteAnswer(message.question, refusal=fault_of(internal_error(error, facts.request_id)))
    return RouteAnswer(message.question, answer.body, answer.status, answer.media_type, dict(answer.headers))
