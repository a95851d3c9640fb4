"""``/v1/responses`` as a dialect."""

from __future__ import annotations

from penstock.hooks import Dialect, DialectRequest, Framing, Operation, Payload, RouteResponse
from penstock_chat import ModelTable, encoded_input, read_object, refuse
from penstock_openai.answer_memo import new_id, now
from penstock_openai.openai_errors import error_response
from penstock_openai.path_descriptions import response_description
from penstock_openai.response_body import ResponseBody
from penstock_openai.response_objects import ResponseMemo, settings_of, whole_response
from penstock_openai.response_offers import Responses
from penstock_openai.response_request import chat_request_of_response
from penstock_openai.response_stream import ResponseStream
from penstock_openai.stored_responses import accepted_response, job_memo_of


def response_dialect(table: ModelTable[Responses], prefix: str) -> Dialect:
    """Return the dialect of the models that respond.

    Parameters
    ----------
    table:
        The models.
    prefix:
        The beginning of its path.
    """

    def read(request: DialectRequest) -> Payload:
        body, raw = read_object(request.body, ResponseBody)
        endpoint, offer = table.find(body.model)
        body.refuse_state()
        if body.background and endpoint.jobs is None:
            refuse(
                "background",
                f"the model {offer.model!r} takes no background jobs; declare endpoint {endpoint.name!r} with "
                "jobs=Jobs(), and name a store in the setting 'store' of plug-in 'jobs'",
            )
        chat = chat_request_of_response(body, raw)
        offer.accept(chat)
        content = encoded_input(chat)
        settings = settings_of(body, chat, body.model or offer.model)
        memo = ResponseMemo(id=new_id("resp", "_"), created_at=now(), settings=settings)
        return Payload(
            endpoint=endpoint.name,
            body=content,
            is_streamed=bool(body.stream),
            memo=memo,
            job_memo=job_memo_of(settings) if body.background else None,
        )

    return Dialect(
        name="openai-responses",
        operations=(Operation(path=f"{prefix}/responses", read=read, description=response_description(table.names)),),
        endpoints=tuple(endpoint.name for endpoint, _ in table.offers),
        result=lambda answer, payload: _whole([answer.body], payload),
        collected=_whole,
        accepted=lambda answer, payload: accepted_response(answer.body, payload),
        framing=_framing,
        error=error_response,
    )


def _whole(chunks: list[bytes], payload: Payload) -> RouteResponse:
    return RouteResponse.json(whole_response(chunks, payload.memo))


def _framing(_head: object, payload: Payload) -> Framing:
    return ResponseStream(payload.memo)
