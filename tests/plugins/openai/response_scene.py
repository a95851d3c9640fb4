"""A model behind the Responses API in a harness: requests, and the events of streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock import App
from penstock.hooks import AttemptEnded
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_chat import ChatRequest, Piece
from penstock_openai import OpenAIPlugin, Responses


def harness_of(*offers: Responses) -> PluginHarness:
    """Return a harness with an endpoint ``chat`` that has these offers."""
    app = App("responses")

    @app.endpoint("/chat", dialects=[*offers])
    def chat(request: ChatRequest) -> Iterator[Piece]:
        yield "never called"

    return PluginHarness(app, [OpenAIPlugin])


class ResponseScene:
    """Requests to one model, with the answers that its handler would yield.

    Parameters
    ----------
    **offered:
        Fields of the offer.
    """

    def __init__(self, **offered: Any) -> None:
        self.harness = harness_of(Responses(model="tiny", **offered))

    def ask(self, *pieces: Piece, **fields: Any) -> tuple[int, Any]:
        """Return the status and the decoded body of a whole answer with these pieces."""
        answer = self._send(pieces, fields)
        return answer.status, msgspec.json.decode(answer.body)

    def output(self, *pieces: Piece, **fields: Any) -> list[Any]:
        """Return the output of a whole answer with these pieces."""
        status, response = self.ask(*pieces, **fields)
        assert status == 200
        return list(response["output"])

    def result(self, value: Any) -> list[Any]:
        """Return the output of an answer that the handler returns at once."""
        answer = self.harness.operation(
            "POST", "/v1/responses", _body_of({}), answer=Encoded(msgspec.json.encode(value))
        )
        return list(msgspec.json.decode(answer.body)["output"])

    def events(self, *pieces: Piece, **fields: Any) -> list[Any]:
        """Return the events of a streamed answer with these pieces."""
        answer = self._send(pieces, {"stream": True, **fields})
        assert answer.status == 200
        return events_of(answer.body)

    def refusal(self, **fields: Any) -> Any:
        """Return the error of a request that is refused with 400, before anything runs."""
        status, body = self.ask("never sent", **fields)
        assert (status, body["error"]["type"]) == (400, "invalid_request_error")
        assert not any(isinstance(record, AttemptEnded) for record in self.harness.records)
        return body["error"]

    def _send(self, pieces: tuple[Piece, ...], fields: dict[str, Any]) -> Any:
        chunks = [msgspec.json.encode(piece) for piece in pieces]
        return self.harness.operation("POST", "/v1/responses", _body_of(fields), answer=chunks)


def _body_of(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"model": "tiny", "input": "hello", **fields})


def events_of(stream: bytes) -> list[Any]:
    """Return the data of the events of a stream, each of which must have its name and its number."""
    events = []
    for number, text in enumerate(stream.decode().split("\n\n")[:-1]):
        name, data = text.split("\n")
        event = msgspec.json.decode(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        events.append(event)
    return events
