"""Tool calls, assembled from the pieces in which servers stream them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock_client.chat_answers import ToolCall
from penstock_client.errors import InvalidAnswer


class _Pieces:
    """One call, as far as it has arrived."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.texts: list[str] = []
        self.decoded: Mapping[str, Any] | None = None  # by a server that sends an object in place of its text

    @property
    def has_arguments(self) -> bool:
        """True if a part of the arguments has arrived."""
        return self.decoded is not None or any(text.strip() for text in self.texts)

    def arguments(self) -> Mapping[str, Any] | None:
        """Return the arguments; None if they are not a whole object of JSON."""
        if self.decoded is not None:
            return self.decoded
        try:
            value = msgspec.json.decode("".join(self.texts))
        except msgspec.DecodeError:
            return None
        return value if isinstance(value, dict) else None


class ToolCallAssembly:
    """The tool calls of one choice.

    A piece belongs to the call with its ``index``. Some servers leave that out, use 0 for all calls, repeat the name or
    the id in each piece, or change the id from piece to piece. So without an index, or with another id, a piece that
    has a name begins a new call if the name differs, or if the call is complete.
    """

    def __init__(self) -> None:
        self._calls: list[_Pieces] = []
        self._by_index: dict[int, _Pieces] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add a piece: an entry of ``tool_calls``, of a delta or of a whole message.

        Raises
        ------
        InvalidAnswer
            If it is not the piece of a function call.
        """
        function = piece.get("function")
        if not isinstance(function, dict):
            raise _invalid(f"a tool call is of the type {piece.get('type')!r}, and not a function")
        index, id_, name = piece.get("index"), _text(piece.get("id")), _text(function.get("name"))
        call = self._call_of(index, id_, name)
        call.id = call.id or id_
        if name != call.name:
            call.name += name
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            call.texts.append(arguments)
        elif isinstance(arguments, dict):
            call.decoded = arguments
        elif arguments is not None:
            raise _invalid(f"the arguments of the tool call {call.name!r} are of the type {type(arguments).__name__}")

    def complete(self, index: int) -> tuple[ToolCall, ...]:
        """Return the calls that are complete so far, as those of a choice."""
        whole = ((call, call.arguments()) for call in self._calls if call.name)
        return tuple(ToolCall(call.id, call.name, found, index) for call, found in whole if found is not None)

    def finish(self, finish_reason: str | None, index: int) -> tuple[ToolCall, ...]:
        """Return all calls of a choice that is complete.

        Raises
        ------
        InvalidAnswer
            If one of them is not.
        """
        for call in self._calls:
            if not call.name:
                raise _invalid("a tool call has no name")
            if finish_reason != "length" and not call.has_arguments:
                call.decoded = {}  # a function without parameters
            if call.arguments() is None:
                raise _invalid(
                    f"the arguments of the tool call {call.name!r} are not an object of JSON: "
                    f"{''.join(call.texts)[:100]!r}; finish_reason={finish_reason!r}"
                )
        return self.complete(index)

    def _call_of(self, index: Any, id_: str, name: str) -> _Pieces:
        has_index = isinstance(index, int)
        if has_index:
            known = self._by_index.get(index)
        else:
            known = next((call for call in self._calls if id_ and call.id == id_), None)
            known = known or (self._calls[-1] if self._calls else None)
        if known is None or _is_another(known, id_, name, has_index=has_index):
            known = _Pieces()
            self._calls.append(known)
        if has_index:
            self._by_index[index] = known
        return known


def _is_another(call: _Pieces, id_: str, name: str, *, has_index: bool) -> bool:
    """Return whether a piece with this id and name begins a call of its own, and does not belong to ``call``."""
    if not name or (id_ and id_ == call.id):
        return False
    if has_index and not (id_ and call.id):
        return False
    is_new_name = bool(call.name) and name != call.name and (id_ != call.id or call.has_arguments)
    return is_new_name or call.arguments() is not None


def _invalid(reason: str) -> InvalidAnswer:
    return InvalidAnswer(f"{InvalidAnswer.title}: {reason}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
