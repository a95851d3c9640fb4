"""An app that speaks OpenAI's chat interface, through a dialect, and repeats the last message word by word.

The words ``fail``, ``call`` and ``slowly`` have it do so; a question with tools, too, has it call one.
"""

from __future__ import annotations

PARROT = """
    import time
    from collections.abc import Iterator
    from pathlib import Path

    import msgspec

    from penstock import App
    from penstock.errors import InvalidRequest
    from penstock.hooks import Dialect, Operation, Payload, RouteResponse


    class Asked(msgspec.Struct):
        model: str
        messages: list[dict]
        stream: bool = False
        tools: list[dict] = []
        gone: str = ""


    def read(request):
        try:
            asked = msgspec.json.decode(request.body, type=Asked)
        except msgspec.DecodeError as error:
            raise InvalidRequest(str(error), param="messages") from None
        last = asked.messages[-1]
        text = "call" if asked.tools and last["role"] == "user" else last["content"]
        body = msgspec.json.encode({"text": text, "gone": asked.gone})
        return Payload(endpoint="repeat", body=body, is_streamed=asked.stream)


    def choice(kind, **fields):
        return {"id": "chatcmpl-1", "object": kind, "created": 0, "model": "parrot", **fields}


    def collected(chunks, payload):
        deltas = [msgspec.json.decode(chunk) for chunk in chunks]
        content = "".join(delta.get("content", "") for delta in deltas)
        message = {"role": "assistant", "content": content or None}
        pieces = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        if pieces:
            arguments = "".join(piece["function"]["arguments"] for piece in pieces)
            message["tool_calls"] = [{**pieces[0], "function": {"name": "weather", "arguments": arguments}}]
        return RouteResponse.json(
            choice(
                "chat.completion",
                choices=[{"index": 0, "message": message, "finish_reason": "stop"}],
                usage={"prompt_tokens": 1, "completion_tokens": len(deltas), "total_tokens": 1 + len(deltas)},
            )
        )


    def event(**fields):
        return b"data: " + msgspec.json.encode(choice("chat.completion.chunk", **fields)) + b"\\n\\n"


    class Chunks:
        media_type = "text/event-stream"
        is_piecewise = False
        keep_alive = b": keep-alive\\n\\n"
        end = (
            event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
            + event(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
            + b"data: [DONE]\\n\\n"
        )

        def frame(self, chunks):
            return b"".join(
                event(choices=[{"index": 0, "delta": msgspec.Raw(chunk), "finish_reason": None}]) for chunk in chunks
            )

        def error(self, error):
            return b"data: " + msgspec.json.encode({"error": error.as_object()}) + b"\\n\\n"


    OPENAI = Dialect(
        name="parrot-openai",
        operations=(Operation(path="/v1/chat/completions", read=read, media_types=("application/json",)),),
        result=lambda answer, payload: RouteResponse(body=answer.body),
        collected=collected,
        framing=lambda head, payload: Chunks(),
        error=lambda error: RouteResponse.json({"error": error.as_object()}, status=error.status),
    )

    app = App(__name__)


    @app.endpoint("/repeat", dialects=[OPENAI], concurrency=2)
    def repeat(text: str, gone: str = "") -> Iterator[dict]:
        try:
            for word in text.split():
                if word == "fail":
                    raise ValueError("no")
                if word == "call":
                    for piece in ('{"city":', '"Oslo"}'):
                        function = {"name": "weather", "arguments": piece}
                        yield {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}
                elif word == "slowly":
                    time.sleep(0.02)
                else:
                    yield {"content": f"{word} "}
        finally:
            if gone:
                Path(gone).touch()


    @app.endpoint("/events")
    def events(fail: bool = False) -> Iterator[int]:
        yield 1
        yield 2
        if fail:
            raise ValueError("no")
"""
