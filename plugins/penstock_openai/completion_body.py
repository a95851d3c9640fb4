"""The body of a completion as OpenAI's clients send it, and the requests that a handler takes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import msgspec

from penstock_chat import ChatRequest, Message, Sampling, refuse
from penstock_openai.completion_request import CompletionRequest
from penstock_openai.generation_body import GenerationBody

Prompt: TypeAlias = str | list[int]


class CompletionBody(GenerationBody, kw_only=True):
    """The body of a completion."""

    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None


def inputs_of(inputs: str | Sequence[str | int | list[int]], param: str) -> list[Prompt]:
    """Return the inputs that a field has: one text or several, or the ids of the tokens of one or of several.

    Raises
    ------
    InvalidRequest
        If it has none, or mixes them; its ``param`` is the one that is passed.
    """
    if isinstance(inputs, str):
        return [inputs]
    texts = [each for each in inputs if isinstance(each, str)]
    ids = [each for each in inputs if isinstance(each, int)]
    lists = [each for each in inputs if isinstance(each, list)]
    if not inputs:
        refuse(param, "it is empty")
    if len(inputs) not in (len(texts), len(ids), len(lists)):
        refuse(param, "it mixes texts, ids of tokens, and lists of them")
    return [ids] if ids else [*texts, *lists]


def completion_requests_of(body: CompletionBody, raw: dict[str, Any], kind: type[Sampling]) -> list[Sampling]:
    """Return a request for each prompt, of the kind that the handler takes.

    Raises
    ------
    InvalidRequest
        If the body asks for what the handler could not do.
    """
    if body.best_of not in (None, 1, body.n or 1):
        refuse("best_of", "answers are not compared; leave it out, or make it equal to n")
    if body.echo and body.logprobs is not None:
        refuse("echo", "it cannot be combined with logprobs")
    fields = body.sampling(raw)
    fields["logprobs"], fields["top_logprobs"] = body.logprobs is not None, body.logprobs or 0
    prompts = inputs_of(body.prompt, "prompt")
    if kind is CompletionRequest:
        return [CompletionRequest(prompt=prompt, suffix=body.suffix, **fields) for prompt in prompts]
    if body.suffix:
        refuse("suffix", "this model does not look at it")
    return [ChatRequest(messages=[Message(role="user", content=_text_of(prompt))], **fields) for prompt in prompts]


def _text_of(prompt: Prompt) -> str:
    if not isinstance(prompt, str):
        refuse("prompt", "this model takes text, and no ids of tokens")
    return prompt
