"""``/v1/embeddings`` as a dialect."""

from __future__ import annotations

from penstock.hooks import Dialect, DialectRequest, Operation, Payload, RouteResponse
from penstock_chat import ModelTable, read_object
from penstock_openai.embedding_answers import EmbeddingMemo, embeddings_response
from penstock_openai.embedding_body import EmbeddingBody, embedding_inputs_of
from penstock_openai.embedding_inputs import EmbeddingParameters
from penstock_openai.openai_errors import error_response
from penstock_openai.openai_offers import Embeddings, most_inputs
from penstock_openai.path_descriptions import embedding_description


def embedding_dialect(table: ModelTable[Embeddings], prefix: str) -> Dialect:
    """Return the dialect of the models that embed.

    Parameters
    ----------
    table:
        The models.
    prefix:
        The beginning of its path.
    """
    parameters = {
        endpoint.name: EmbeddingParameters(endpoint, f"endpoint {endpoint.name!r}: {offer}")
        for endpoint, offer in table.offers
    }

    def read(request: DialectRequest) -> Payload:
        body, _ = read_object(request.body, EmbeddingBody)
        endpoint, offer = table.find(body.model)
        inputs = embedding_inputs_of(body, most_inputs(endpoint))
        parts = [parameters[endpoint.name].body_of(value, body.dimensions) for value in inputs]
        memo = EmbeddingMemo(body.model or offer.model, body.encoding_format or "float")
        if len(parts) == 1:
            return Payload(endpoint=endpoint.name, body=parts[0], is_streamed=False, memo=memo)
        return Payload(endpoint=endpoint.name, parts=parts, is_streamed=False, memo=memo)

    return Dialect(
        name="openai-embeddings",
        operations=(Operation(path=f"{prefix}/embeddings", read=read, description=embedding_description(table.names)),),
        endpoints=tuple(endpoint.name for endpoint, _ in table.offers),
        result=lambda answer, payload: embeddings_response([answer.body], payload.memo),
        collected=lambda chunks, payload: _together([chunks], payload),
        together=_together,
        error=error_response,
    )


def _together(answers: list[list[bytes]], payload: Payload) -> RouteResponse:
    return embeddings_response([b"".join(chunks) for chunks in answers], payload.memo)
