"""Bodies of responses, speech and transcriptions that no client would send: each is answered or refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock import App
from penstock.hooks import JobAnswered
from penstock.response import OCTETS, Encoded
from penstock.testing import PluginHarness
from penstock_chat import ChatRequest
from penstock_openai import OpenAIPlugin, Responses, Speech, SpeechRequest, TranscriptionRequest, Transcriptions
from tests.plugins.openai.test_openai_fuzz import Mutator

SEED = 20_261_129
TOOL = {"type": "function", "name": "f", "description": "", "parameters": {}, "strict": False}
RESPONSE: dict[str, Any] = {
    "model": "able",
    "instructions": "i",
    "input": [
        {"role": "user", "content": "a"},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "data:image/png;base64,aaaa", "detail": "auto"},
                {"type": "input_file", "file_data": "aaaa", "filename": "f"},
                {"type": "input_audio", "input_audio": {"data": "aaaa", "format": "wav"}},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "2"}]},
    ],
    "stream": True,
    "tools": [TOOL],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}, "verbosity": "low"},
    "reasoning": {"effort": "low"},
    "max_output_tokens": 9,
    "temperature": 1,
    "top_logprobs": 2,
    "include": ["message.output_text.logprobs"],
    "metadata": {"a": "b"},
    "store": True,
    "background": False,
    "previous_response_id": None,
}
SPEECH: dict[str, Any] = {
    "model": "voice",
    "input": "a",
    "voice": {"id": "v"},
    "response_format": "wav",
    "speed": 1.5,
    "instructions": "x",
    "stream_format": "audio",
}
FIELDS = {
    "model": "whisper-1",
    "language": "en",
    "prompt": "p",
    "response_format": "verbose_json",
    "temperature": "0.5",
    "timestamp_granularities[]": "word",
    "stream": "false",
    "include[]": "logprobs",
}
TRANSCRIPT = b'{"type":"transcript","text":"a","segments":[{"type":"segment","start":0,"end":1,"text":"a"}]}'


def make_harness() -> PluginHarness:
    app = App("fuzz")

    @app.endpoint(
        "/able",
        dialects=[
            Responses(
                model="able",
                tools=True,
                inputs=("text", "image", "audio", "file"),
                structured="validate",
                logprobs=True,
                is_default=True,
            )
        ],
    )
    def able(request: ChatRequest) -> str:
        return "never called"

    @app.endpoint("/speak", dialects=[Speech(model="voice", formats=("wav", "mp3"), is_default=True)])
    def speak(request: SpeechRequest) -> bytes:
        return b"never called"

    offer = Transcriptions(model="whisper-1", times=("segment", "word"), is_default=True)

    @app.endpoint("/transcribe", dialects=[offer])
    def transcribe(request: TranscriptionRequest) -> str:
        return "never called"

    return PluginHarness(app, [OpenAIPlugin])


def mutated_form(mutator: Mutator) -> bytes:
    """Return a form whose fields and bytes differ from a valid one in a few places."""
    draw = mutator.draw
    parts = [(f'"{name}"', value.encode()) for name, value in FIELDS.items()]
    parts.append(('"file"; filename="a.wav"', b"sound"))
    for _ in range(draw.randrange(3)):
        place = draw.randrange(len(parts))
        name, value = parts[place]
        strange = draw.choice([b"", b"a", b"\xff", b"true", b"-1", b"1e999", b"nan", b"json", b"srt", value * 2])
        parts[place : place + 1] = draw.choice(
            [[], [(name, strange)], [(name, value)] * 2, [('"x"; filename="f"', b"")]]
        )
    body = b"".join(
        b"--b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n" % (name.encode(), value)
        for name, value in parts
    )
    whole = body + b"--b--\r\n"
    return mutator.torn(whole) if draw.random() < 0.2 else whole


def check(harness: PluginHarness, path: str, body: bytes, answer: Any, content_type: str) -> int:
    """Send a body; check what is always true; return the status."""
    harness.records.clear()
    found = harness.operation("POST", path, body, answer, headers={"content-type": content_type})
    jobs = [record for record in harness.records if isinstance(record, JobAnswered)]
    if found.status == 200:
        assert jobs, body
        return 200
    error = msgspec.json.decode(found.body)["error"]
    assert found.status in (400, 404, 413), (body, error)
    assert error["message"], body
    assert not jobs, body
    return found.status


def fuzz(count: int, seed: int) -> dict[str, dict[int, int]]:
    """Send many bodies to each operation; return how many had each status."""
    harness, mutator = make_harness(), Mutator(seed)
    counts: dict[str, dict[int, int]] = {}
    for _ in range(count):
        chunks: Any = mutator.draw.choice([Encoded(b'"a"'), [b'"a"', b'{"type":"tool_call","name":"f"}']])
        for path, body, answer, content_type in (
            ("/v1/responses", mutator.body(RESPONSE), chunks, "application/json"),
            ("/v1/audio/speech", mutator.body(SPEECH), Encoded(b"RIFF", OCTETS), "application/json"),
            ("/v1/audio/transcriptions", mutated_form(mutator), Encoded(TRANSCRIPT), "multipart/form-data; boundary=b"),
        ):
            status = check(harness, path, body, answer, content_type)
            statuses = counts.setdefault(path, {})
            statuses[status] = statuses.get(status, 0) + 1
    return counts


def test_no_body_breaks_anything() -> None:
    """Each is answered, or refused as a mistake of the client before anything runs."""
    counts = fuzz(300, SEED)
    assert all(min(statuses[200], statuses[400]) > 20 for statuses in counts.values()), counts


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
def test_no_body_of_very_many_breaks_anything(seed: int) -> None:
    """The same, for longer."""
    fuzz(10_000, seed)
