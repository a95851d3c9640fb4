"""``/v1/messages/count_tokens`` as a dialect."""

from __future__ import annotations

import msgspec

from penstock.errors import DeclarationError, NotFound
from penstock.hooks import App, Dialect, DialectRequest, Operation, Payload, RouteResponse
from penstock_anthropic.anthropic_errors import error_response
from penstock_anthropic.message_body import ConversationBody
from penstock_anthropic.message_descriptions import token_description
from penstock_anthropic.message_offers import Messages
from penstock_anthropic.message_requests import conversation_request
from penstock_chat import ChatRequest, ModelTable, encoded_input, read_object

_encode = msgspec.json.Encoder().encode


def token_dialect(table: ModelTable[Messages], prefix: str, app: App) -> Dialect:
    """Return the dialect that counts tokens, by other endpoints of the app.

    Parameters
    ----------
    table:
        The models. If none of them has such an endpoint, the path has an answer all the same, which says so.
    prefix:
        The beginning of its path.
    app:
        The app.

    Raises
    ------
    DeclarationError
        If such an endpoint takes anything else than a ``ChatRequest``.
    """

    def read(request: DialectRequest) -> Payload:
        body, raw = read_object(request.body, ConversationBody)
        _, offer = table.find(body.model)
        if offer.count_tokens is None:
            raise NotFound(f"The tokens of the model {offer.model!r} are not counted here", param="model")
        chat = conversation_request(body, raw)
        offer.accept(chat)
        return Payload(endpoint=offer.count_tokens, body=encoded_input(chat), memo=request.request_id)

    counting = dict.fromkeys(offer.count_tokens for _, offer in table.offers if offer.count_tokens is not None)
    _require_chat_requests(app, counting)
    description = token_description(table.names) if counting else None
    return Dialect(
        name="anthropic-tokens",
        operations=(Operation(path=f"{prefix}/v1/messages/count_tokens", read=read, description=description),),
        endpoints=tuple(counting) or tuple(endpoint.name for endpoint, _ in table.offers),
        result=lambda answer, payload: _counted(answer.body, payload.memo),
        error=error_response,
    )


def _require_chat_requests(app: App, names: dict[str, None]) -> None:
    for endpoint in app.endpoints:
        if endpoint.name in names and endpoint.codec.whole_type is not ChatRequest:
            raise DeclarationError(
                f"endpoint {endpoint.name!r}: count_tokens={endpoint.name!r} needs a handler whose one parameter, "
                "besides a Context, is a ChatRequest, and which returns an int"
            )


def _counted(result: bytes, request_id: str) -> RouteResponse:
    tokens = msgspec.json.decode(result, type=int)
    return RouteResponse(body=_encode({"input_tokens": tokens}), headers={"request-id": request_id})
