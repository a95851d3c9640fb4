"""The request that a chat handler takes, whichever protocol it has arrived by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from penstock_chat.answer_filter import AnswerFilter
from penstock_chat.messages import Message


class Tool(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A tool that the model may call.

    Parameters
    ----------
    name, description:
        As the model sees them.
    parameters:
        The JSON Schema of its arguments.
    strict:
        True if the arguments must match the schema.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the tool in the form of OpenAI, which chat templates of Hugging Face models take."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class ResponseFormat(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The form that the answer has to have.

    Parameters
    ----------
    type:
        ``text``; ``json_object``, any object; or ``json_schema``, a value that matches ``schema``.
    name:
        The name of the schema.
    schema:
        The JSON Schema.
    strict:
        True if the client relies on it.
    is_validated:
        True if the answer is compared with it before it is sent. The endpoint's offer decides that.
    """

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    schema: dict[str, Any] = {}
    strict: bool = False
    is_validated: bool = False


class Sampling(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The settings of one generation, which requests for text have in common. None: the model's own.

    Parameters
    ----------
    model:
        The name of the model, as the client has given it; an alias, for instance.
    temperature, top_p, presence_penalty, frequency_penalty:
        Settings of the sampler.
    max_tokens:
        The most tokens of the answer. It is for the model to stop there, and to yield ``Finish("length")``.
    stop:
        Texts at which the answer ends, without them. Penstock sees to that; a model may stop there itself, too.
    seed:
        The seed of the sampler. The further answers to a request for several have the next ones.
    choice:
        The number of this answer, from 0, if the client has asked for several.
    logit_bias:
        Biases by token id.
    logprobs:
        True if ``Text`` should have ``logprobs``.
    top_logprobs:
        The number of likeliest tokens in each place that they should have.
    response_format:
        The form of the answer.
    user:
        The client's name for its own user.
    metadata:
        Labels of the client's.
    raw:
        The fields of the body that are none of these, such as ``top_k``, as the client has sent them.
    """

    model: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: list[str] = []
    seed: int | None = None
    choice: int = 0
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] = {}
    logprobs: bool = False
    top_logprobs: int = 0
    response_format: ResponseFormat = msgspec.field(default_factory=ResponseFormat)
    user: str | None = None
    metadata: dict[str, str] = {}
    raw: dict[str, Any] = {}

    def chunk_filter(self) -> AnswerFilter:
        """Return the filter of the answer: it ends at a stop sequence, and has the form that was asked for."""
        form = self.response_format
        schema = None
        if form.is_validated and form.type != "text":
            schema = form.schema if form.type == "json_schema" else {"type": "object"}
        return AnswerFilter(self.stop, schema)


class ChatRequest(Sampling, omit_defaults=True, kw_only=True):
    """A request for the next message of a conversation: the one parameter of a chat handler.

    The handler yields the answer in pieces: ``str``, ``Text``, ``Reasoning``, ``ToolCall``, ``Usage`` and ``Finish``.
    Or it returns one of them, or a list.

    Parameters
    ----------
    messages:
        The conversation, at least one message.
    tools:
        The tools that the model may call.
    tool_choice:
        ``auto``, ``none``, or ``required``: it must call one.
    forced_tool:
        The name of the tool that it must call, if the client has chosen one; ``tool_choice`` is then ``required``.
    parallel_tool_calls:
        False if it may call one at most.
    reasoning_effort:
        Such as ``low`` or ``high``.
    """

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)] = msgspec.field()
    tools: list[Tool] = []
    tool_choice: Literal["auto", "none", "required"] = "auto"
    forced_tool: str | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None
