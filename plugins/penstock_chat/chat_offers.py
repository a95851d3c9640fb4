"""Offers of chat models: what a handler says that it can do. What it cannot is refused before it is queued."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from penstock.errors import DeclarationError
from penstock_chat.body_faults import refuse
from penstock_chat.chat_request import ChatRequest, ResponseFormat, Sampling
from penstock_chat.messages import Audio, File, Image, Part
from penstock_chat.model_offers import ModelOffer

Structured: TypeAlias = Literal["refuse", "handler", "validate"]
Input: TypeAlias = Literal["text", "image", "audio", "file"]

_INPUT_OF: dict[type, Input] = {Image: "image", Audio: "audio", File: "file"}


@dataclass(frozen=True, kw_only=True)
class GenerationOffer(ModelOffer):
    """An endpoint that generates text.

    Parameters
    ----------
    structured:
        What becomes of requests for JSON, or for JSON that matches a schema. ``refuse``: they are refused, since the
        handler does not look at ``response_format``. ``handler``: it does, and constrains the model itself.
        ``validate``: it does what it can, and the answer is compared with the schema; one that does not match is an
        error. That needs ``pip install 'penstock[chat]'``.
    logprobs:
        True if the handler yields log probabilities when it is asked for them; otherwise such requests are refused.
    """

    structured: Structured = "refuse"
    logprobs: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.structured not in get_args(Structured):
            choices = ", ".join(get_args(Structured))
            raise DeclarationError(f"{self}: structured={self.structured!r} is unknown; use one of {choices}")
        if self.structured == "validate" and importlib.util.find_spec("jsonschema") is None:
            raise DeclarationError(f"{self}: structured='validate' needs jsonschema; pip install 'penstock[chat]'")

    def accept(self, request: Sampling, name: str = "response_format") -> None:
        """Refuse a request that asks for what the handler cannot do, and set what it relies on.

        Parameters
        ----------
        request:
            The request.
        name:
            The field of the body that has the form of the answer, for the error.

        Raises
        ------
        InvalidRequest
            If it does; its ``param`` is the field.
        """
        form = request.response_format
        if form.type != "text":
            if self.structured == "refuse":
                refuse(name, f"the model {self.model!r} does not promise answers of the type {form.type}")
            form.is_validated = self.structured == "validate"
            _require_valid_schema(form, name)
        if request.logprobs and not self.logprobs:
            refuse("logprobs", f"the model {self.model!r} has no log probabilities")


@dataclass(frozen=True, kw_only=True)
class ChatOffer(GenerationOffer):
    """An endpoint that chats: the base class of such offers, whichever the protocol.

    Parameters
    ----------
    tools:
        True if the handler looks at ``tools``; otherwise requests with tools are refused.
    inputs:
        The kinds of parts of messages that it takes: ``text``, ``image``, ``audio``, ``file``.
    """

    tools: bool = False
    inputs: tuple[Input, ...] = ("text",)

    takes: ClassVar[tuple[type, ...]] = (ChatRequest,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.inputs) <= set(get_args(Input)):  # the letters of a lone str are not in it either
            choices = ", ".join(map(repr, get_args(Input)))
            raise DeclarationError(f"{self}: inputs={self.inputs!r} is not a tuple of {choices}")
        object.__setattr__(self, "inputs", tuple(self.inputs))

    def accept(self, request: Sampling, name: str = "response_format") -> None:
        """Refuse a request that asks for what the handler cannot do, as every offer does; tools and parts too."""
        super().accept(request, name)
        assert isinstance(request, ChatRequest), "it has been read for this kind of offer"
        if request.tools and request.tool_choice != "none" and not self.tools:
            refuse("tools", f"the model {self.model!r} does not call tools")
        for place, message in enumerate(request.messages):
            for part in message.parts:
                self._accept_part(part, place)

    def _accept_part(self, part: Part, place: int) -> None:
        kind = _INPUT_OF.get(type(part), "text")
        if kind not in self.inputs:
            refuse(f"messages[{place}].content", f"the model {self.model!r} does not take {kind} parts")


def _require_valid_schema(form: ResponseFormat, name: str) -> None:
    """Refuse a schema that is none, if answers are to be compared with it."""
    if not form.is_validated or form.type != "json_schema":
        return
    import jsonschema  # noqa: PLC0415 - an extra, which takes a while to load

    try:
        jsonschema.Draft202012Validator.check_schema(form.schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        reason: Any = getattr(error, "message", "it is nested too deeply")
        refuse(f"{name}.json_schema.schema", f"it is not a JSON Schema: {str(reason)[:200]}")
