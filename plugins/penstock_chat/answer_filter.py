"""The filter of an answer, which runs in the worker: stop sequences, the form of the answer, and its pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from penstock.errors import InvalidRequest, PenstockError
from penstock_chat.pieces import PIECES, Finish, Piece, Text, ToolCall
from penstock_chat.stop_matcher import StopMatcher


class SchemaMismatch(PenstockError):
    """The answer of the model does not have the form that the client has asked for."""

    status = 502
    code = "schema-mismatch"
    title = "The model's answer does not match the schema"


class AnswerFilter:
    """A filter of one answer.

    Parameters
    ----------
    stops:
        The texts at which it ends.
    schema:
        The JSON Schema that its text must match if it ends by itself, and not in calls of tools; None for any text.
    """

    def __init__(self, stops: Sequence[str], schema: dict[str, Any] | None) -> None:
        self._stops = StopMatcher(stops) if stops else None
        self._schema = schema
        self._texts: list[str] = []
        self._is_finished = False
        self._has_calls = False

    def feed(self, chunk: Any) -> tuple[list[Piece], bool]:
        """Take a piece, or a list of them, as the handler has yielded it.

        Returns the pieces to send now, and whether the answer ends there.

        Raises
        ------
        TypeError
            If it is not a piece of an answer.
        SchemaMismatch
            If the answer ends with it, and does not match the schema.
        """
        if isinstance(chunk, list):
            return self._feed_all(chunk)
        if isinstance(chunk, (str, Text)):
            return self._text(chunk)
        if not isinstance(chunk, PIECES):
            raise TypeError(
                f"a chat handler has yielded a {type(chunk).__name__}; yield str, Text, Reasoning, ToolCall, Usage or "
                "Finish of penstock_chat"
            )
        if isinstance(chunk, ToolCall):
            self._has_calls = True
        if not isinstance(chunk, (ToolCall, Finish)):
            return [chunk], False
        ready: list[Piece] = [*self._rest()]
        if isinstance(chunk, Finish):
            self._end(chunk.reason)
        return [*ready, chunk], False

    def finish(self) -> list[Piece]:
        """Return what is held back.

        Raises
        ------
        SchemaMismatch
            If the answer does not match the schema.
        """
        rest: list[Piece] = [*self._rest()]
        if not self._is_finished:
            self._end("stop")
        return rest

    def whole(self, result: Any) -> Any:
        """Return what to send for a result: a piece, or a list of them.

        An ``int`` passes as it is. It is the answer of an endpoint that counts the tokens of a request.
        """
        if isinstance(result, int):
            return result
        is_list = isinstance(result, (list, tuple))
        pieces = self._all(result if is_list else [result])
        return pieces[0] if len(pieces) == 1 and not is_list else pieces

    def _all(self, yielded: Iterable[Any]) -> list[Piece]:
        pieces, is_done = self._feed_all(yielded)
        return _joined(pieces if is_done else [*pieces, *self.finish()])

    def _feed_all(self, yielded: Iterable[Any]) -> tuple[list[Piece], bool]:
        pieces: list[Piece] = []
        for piece in yielded:
            ready, is_done = self.feed(piece)
            pieces += ready
            if is_done:
                return pieces, True
        return pieces, False

    def _text(self, piece: str | Text) -> tuple[list[Piece], bool]:
        if self._stops is None:
            self._keep([piece])
            return [piece], False
        ready = self._stops.feed(piece)
        self._keep(ready)
        if self._stops.found is None:
            return [*ready], False
        self._end("stop")
        return [*ready, Finish("stop", self._stops.found)], True

    def _rest(self) -> list[str | Text]:
        rest = [] if self._stops is None else self._stops.rest()
        self._keep(rest)
        return rest

    def _keep(self, pieces: list[str | Text]) -> None:
        if self._schema is not None:
            self._texts += [piece if isinstance(piece, str) else piece.text for piece in pieces]

    def _end(self, reason: str) -> None:
        self._is_finished = True
        if self._schema is not None and reason == "stop" and not self._has_calls:
            _require_match("".join(self._texts), self._schema)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Return the pieces with neighbouring strings as one."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and isinstance(piece, str) and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _require_match(text: str, schema: dict[str, Any]) -> None:
    """Raise ``SchemaMismatch`` unless a text is JSON that matches the schema."""
    # Loaded here, because it is an extra, and takes a while.
    import jsonschema  # noqa: PLC0415 - see above
    from referencing import Registry  # noqa: PLC0415 - see above
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - see above

    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise SchemaMismatch(f"The model's answer is not JSON: {error}") from None
    # An empty registry: a schema from a client must not have the worker fetch another one from somewhere.
    validator = jsonschema.Draft202012Validator(schema, registry=Registry())
    try:
        fault = next(validator.iter_errors(value), None)
    except (Unresolvable, re.error, RecursionError) as error:
        raise InvalidRequest(
            f"`response_format`: the schema cannot be used: {error}", param="response_format"
        ) from None
    if fault is not None:
        raise SchemaMismatch(f"The model's answer does not match the schema at {fault.json_path}: {fault.message}")
