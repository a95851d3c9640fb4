"""Offers of chat models, with the abilities of their handlers: other requests are refused before they are queued."""

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
        The fate of requests for JSON, or for JSON that matches a schema. ``refuse``: they are refused, since the
        handler does not look at ``response_format``. ``handler``: it does, and constrains the model itself.
        ``validate``: it does what it can, and the answer is compared with the schema; one that does not match is an
        error. That needs ``pip install 'penstock[chat]'``.
    logprobs:
        True if the handler yields log probabilities when it is asked for them; otherwise such requests are refused.
    """

    structured: Structured = "refuse"
    logprobs: bool = False

    schema_field: ClassVar[str] = "json_schema.schema"
    """The field of the form of the answer that has the schema, for errors."""

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
            _require_valid_schema(form, f"{name}.{self.schema_field}")
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
    content_field: ClassVar[str] = "messages[{}].content"
    """The field of the body that has the content of a message, with a place for its number, for errors."""

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
        _require_choice(request)
        if request.tools and request.tool_choice != "none" and not self.tools:
            refuse("tools", f"the model {self.model!r} does not call tools")
        for place, message in enumerate(request.messages):
            for part in message.parts:
                self._accept_part(part, place)

    def _accept_part(self, part: Part, place: int) -> None:
        kind = _INPUT_OF.get(type(part), "text")
        if kind not in self.inputs:
            refuse(self.content_field.format(place), f"the model {self.model!r} does not take {kind} parts")


def _require_choice(request: ChatRequest) -> None:
    """Refuse a request that forces a call of a tool that it does not have."""
    if request.forced_tool is not None and request.forced_tool not in {tool.name for tool in request.tools}:
        refuse("tool_choice", f"there is no tool {request.forced_tool[:100]!r}")
    if request.tool_choice == "required" and not request.tools:
        refuse("tool_choice", "there are no tools to choose from")


def _require_valid_schema(form: ResponseFormat, field: str) -> None:
    """Refuse a schema that is none, if answers are to be compared with it."""
    if not form.is_validated or form.type != "json_schema":
        return
    import jsonschema  # noqa: PLC0415 - an extra, which takes a while to load

    try:
        jsonschema.Draft202012Validator.check_schema(form.schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        reason: Any = getattr(error, "message", "it is nested too deeply")
        refuse(field, f"it is not a JSON Schema: {str(reason)[:200]}")
