"""``/v1/messages`` as a dialect."""

from __future__ import annotations

from penstock.hooks import Dialect, DialectRequest, Framing, Operation, Payload, RouteResponse
from penstock_anthropic.anthropic_errors import error_response
from penstock_anthropic.message_answers import whole_message
from penstock_anthropic.message_body import MessagesBody
from penstock_anthropic.message_descriptions import message_description
from penstock_anthropic.message_memo import MessageMemo
from penstock_anthropic.message_offers import Messages
from penstock_anthropic.message_requests import messages_request
from penstock_anthropic.message_stream import MessageStream
from penstock_chat import ModelTable, encoded_input, pieces_of, read_object


def message_dialect(table: ModelTable[Messages], prefix: str) -> Dialect:
    """Return the dialect of the models.

    Parameters
    ----------
    table:
        The models.
    prefix:
        The beginning of its path.
    """

    def read(request: DialectRequest) -> Payload:
        body, raw = read_object(request.body, MessagesBody)
        endpoint, offer = table.find(body.model)
        chat = messages_request(body, raw)
        offer.accept(chat)
        memo = MessageMemo(model=body.model or offer.model, request_id=request.request_id)
        return Payload(endpoint=endpoint.name, body=encoded_input(chat), is_streamed=bool(body.stream), memo=memo)

    return Dialect(
        name="anthropic-messages",
        operations=(Operation(path=f"{prefix}/v1/messages", read=read, description=message_description(table.names)),),
        endpoints=tuple(endpoint.name for endpoint, _ in table.offers),
        result=lambda answer, payload: whole_message(pieces_of(answer.body), payload.memo),
        collected=_collected,
        framing=_framing,
        error=error_response,
    )


def _collected(chunks: list[bytes], payload: Payload) -> RouteResponse:
    return whole_message((piece for chunk in chunks for piece in pieces_of(chunk)), payload.memo)


def _framing(_head: object, payload: Payload) -> Framing:
    return MessageStream(payload.memo)
