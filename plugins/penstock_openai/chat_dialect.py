"""``/v1/chat/completions`` as a dialect."""

from __future__ import annotations

from penstock.hooks import Dialect, DialectRequest, Framing, Operation, Payload, RouteResponse
from penstock_chat import ModelTable, read_object, refuse
from penstock_openai.answer_memo import AnswerMemo, new_id, now
from penstock_openai.chat_body import ChatBody, chat_request_of
from penstock_openai.chat_objects import ChatStream, whole_chat
from penstock_openai.choices import answer_of, inputs_for, payload_of
from penstock_openai.openai_errors import error_response
from penstock_openai.openai_offers import Chat, most_inputs
from penstock_openai.path_descriptions import chat_description


def chat_dialect(table: ModelTable[Chat], prefix: str) -> Dialect:
    """Return the dialect of the chat models.

    Parameters
    ----------
    table:
        The models.
    prefix:
        The beginning of its path.
    """

    def read(request: DialectRequest) -> Payload:
        body, raw = read_object(request.body, ChatBody)
        endpoint, offer = table.find(body.model)
        chat = chat_request_of(body, raw)
        offer.accept(chat)
        count, most = body.n or 1, most_inputs(endpoint)
        if count > most:
            refuse("n", f"there may be {most} answers to one request at most")
        memo = AnswerMemo(
            id=new_id("chatcmpl"),
            created=now(),
            model=body.model or offer.model,
            includes_usage=body.includes_usage,
            wants_logprobs=chat.logprobs,
        )
        inputs = inputs_for([chat], count)
        return payload_of(endpoint.name, inputs, is_streamed=bool(body.stream), memo=memo)

    return Dialect(
        name="openai-chat",
        operations=(
            Operation(path=f"{prefix}/chat/completions", read=read, description=chat_description(table.names)),
        ),
        endpoints=tuple(endpoint.name for endpoint, _ in table.offers),
        result=lambda answer, payload: _together([[answer.body]], payload),
        collected=lambda chunks, payload: _together([chunks], payload),
        together=_together,
        framing=_framing,
        error=error_response,
    )


def _together(answers: list[list[bytes]], payload: Payload) -> RouteResponse:
    return whole_chat([answer_of(chunks) for chunks in answers], payload.memo)


def _framing(_head: object, payload: Payload) -> Framing:
    return ChatStream(payload.memo, len(payload.parts) or 1)
