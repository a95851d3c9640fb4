"""``/v1/completions`` as a dialect."""

from __future__ import annotations

from penstock.hooks import Dialect, DialectRequest, Framing, Operation, Payload, RouteResponse
from penstock_chat import ModelTable, read_object, refuse
from penstock_openai.answer_memo import AnswerMemo, new_id, now
from penstock_openai.choices import answer_of, inputs_for, payload_of
from penstock_openai.completion_answers import CompletionStream, whole_completion
from penstock_openai.completion_body import CompletionBody, completion_requests_of, inputs_of
from penstock_openai.openai_errors import error_response
from penstock_openai.openai_offers import Completions, most_inputs
from penstock_openai.path_descriptions import completion_description


def completion_dialect(table: ModelTable[Completions], prefix: str) -> Dialect:
    """Return the dialect of the models that complete prompts.

    Parameters
    ----------
    table:
        The models.
    prefix:
        The beginning of its path.
    """

    def read(request: DialectRequest) -> Payload:
        body, raw = read_object(request.body, CompletionBody)
        endpoint, offer = table.find(body.model)
        count, most = body.n or 1, most_inputs(endpoint)
        if len(inputs_of(body.prompt, "prompt")) * count > most:
            refuse("prompt", f"there may be {most} answers to one request at most")
        prompts = completion_requests_of(body, raw, endpoint.codec.whole_type)
        for prompt in prompts:
            offer.accept(prompt)
        memo = AnswerMemo(
            id=new_id("cmpl"),
            created=now(),
            model=body.model or offer.model,
            includes_usage=body.includes_usage,
            wants_logprobs=body.logprobs is not None,
            echoes=_echoes_of(body),
            prompts=len(prompts),
        )
        return payload_of(endpoint.name, inputs_for(prompts, count), is_streamed=bool(body.stream), memo=memo)

    return Dialect(
        name="openai-completions",
        operations=(
            Operation(path=f"{prefix}/completions", read=read, description=completion_description(table.names)),
        ),
        endpoints=tuple(endpoint.name for endpoint, _ in table.offers),
        result=lambda answer, payload: _together([[answer.body]], payload),
        collected=lambda chunks, payload: _together([chunks], payload),
        together=_together,
        framing=_framing,
        error=error_response,
    )


def _echoes_of(body: CompletionBody) -> tuple[str, ...]:
    """Return the prompt with which each answer begins."""
    if not body.echo:
        return ()
    prompts = inputs_of(body.prompt, "prompt")
    if not all(isinstance(prompt, str) for prompt in prompts):
        refuse("echo", "the prompt has ids of tokens, and no text")
    return tuple(str(prompt) for prompt in prompts for _ in range(body.n or 1))


def _together(answers: list[list[bytes]], payload: Payload) -> RouteResponse:
    return whole_completion([answer_of(chunks) for chunks in answers], payload.memo)


def _framing(_head: object, payload: Payload) -> Framing:
    return CompletionStream(payload.memo, len(payload.parts) or 1)
