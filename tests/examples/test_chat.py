from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI
from tokenizers.decoders import DecodeStream

from examples import chat
from penstock import Done, InvalidRequest
from penstock_chat import ChatRequest, Message
from penstock_client import Client
from tests.serving import ROOT, Served, wait_until

CAPITALS = {"France": "Paris", "Germany": "Berlin", "Japan": "Tokyo"}
STORY = "Tell me a long story about the sea."  # with the temperature 0, it has more than 300 tokens


@pytest.fixture(scope="module")
def loaded() -> chat.SmolLM:
    model = chat.SmolLM()
    model.setup()
    return model


@pytest.fixture
def model(loaded: chat.SmolLM) -> Iterator[chat.SmolLM]:
    yield loaded
    for slot in list(loaded.answers):
        loaded.release(slot)


def asked(text: str, **options: Any) -> ChatRequest:
    return ChatRequest(messages=[Message(role="user", content=text)], **options)


def body(text: str, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **options}


def texts_of(chunk: Any) -> str:
    """Return the text of what a step has returned for a slot."""
    last = chunk.chunk if isinstance(chunk, Done) else chunk
    return "".join(piece for piece in (last if isinstance(last, list) else [last]) if isinstance(piece, str))


def finish(model: chat.SmolLM, slots: list[int]) -> dict[int, str]:
    """Step until the answers in these slots have ended; return them."""
    texts = dict.fromkeys(slots, "")
    going = list(slots)
    while going:
        for slot, chunk in model.step(going).items():
            if isinstance(chunk, Done):
                going.remove(slot)
                model.release(slot)
            texts[slot] += texts_of(chunk)
    return texts


def test_questions_are_answered_together(model: chat.SmolLM) -> None:
    """Each slot has the answer to its own question, until the model ends it."""
    for slot, country in enumerate(CAPITALS):
        model.admit(slot, asked(f"What is the capital of {country}?", temperature=0))
    answers = finish(model, [0, 1, 2])
    for answer, capital in zip(answers.values(), CAPITALS.values(), strict=True):
        assert capital in answer
    assert model.answers == {}


def test_an_answer_has_no_more_tokens_than_asked_for(model: chat.SmolLM) -> None:
    """The last of them ends it."""
    model.admit(5, asked(STORY, max_tokens=3))
    steps = [model.step([5]) for _ in range(4)]
    chunks = [step[5] for step in steps if step][:3]
    assert [isinstance(chunk, Done) for chunk in chunks] == [False, False, True]


def test_a_seed_repeats_an_answer(model: chat.SmolLM) -> None:
    """The same seed and prompt have the same answer, in any slot; another seed has another."""
    for slot, seed in ((0, 7), (9, 7), (4, 8)):
        model.admit(slot, asked(STORY, max_tokens=6, temperature=1.5, seed=seed))
    first, again, other = (finish(model, [slot])[slot] for slot in (0, 9, 4))
    assert first == again != other


def test_a_long_prompt_does_not_stop_an_answer(model: chat.SmolLM) -> None:
    """It is read in parts, and the answer advances with each of them."""
    model.admit(0, asked(STORY, temperature=0))
    while not model.step([0]):
        pass
    model.admit(1, asked("tea " * 2 * chat.PROMPT_TOKENS, max_tokens=1))
    steps = [list(model.step([0, 1])) for _ in range(3)]
    assert steps == [[0], [0], [0, 1]]


def test_a_slot_that_is_left_out_of_a_step_goes_on_later(model: chat.SmolLM) -> None:
    """The answer of a slow reader is what it would have been."""
    question = "What is the capital of Egypt?"
    for slot in (0, 1):
        model.admit(slot, asked(question, temperature=0))
    ahead = finish(model, [0])
    assert finish(model, [1])[1] == ahead[0]


def test_a_prompt_that_is_too_long_is_the_callers_error(model: chat.SmolLM) -> None:
    """It is refused with both lengths, and the slot can be released and used."""
    with pytest.raises(InvalidRequest, match=r"they have 20\d\d tokens; there is room for 9\d\d"):
        model.admit(0, asked("tea " * 2000))
    model.release(0)
    model.admit(0, asked("What is the capital of Japan?", temperature=0))
    assert "Tokyo" in finish(model, [0])[0]


def test_a_character_is_sent_when_it_is_complete(model: chat.SmolLM) -> None:
    """One of several tokens comes with the last of them."""
    model.admit(0, asked(STORY))
    answer = model.answers[0]
    answer.words = DecodeStream()
    chunks = [model._chunk(answer, token) for token in model.model.tokenizer.encode("🙂").ids]
    assert len(chunks) > 1
    assert chunks == [None] * (len(chunks) - 1) + ["🙂"]


# ---- over HTTP

# A few slots fill up quickly, and are as good as sixteen, which the thorough test has.
SLOTS = 3


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(ROOT / "examples" / "chat.py", environment={"CHAT_SLOTS": str(SLOTS)}) as served:
        yield served


def counts(served: Served) -> tuple[int, int]:
    """Return how many prompts are being answered, and how many wait."""
    endpoint = served.status()["endpoints"]["chat"]
    return endpoint["running"], endpoint["queued"]


@pytest.mark.e2e
def test_the_docstrings_question_is_answered_token_by_token(served: Served) -> None:
    """Each token is a line, the numbers of tokens are the last one, and the model ends the answer."""
    answer = served.post_json("/chat", body("What is the capital of France?", temperature=0))
    assert answer.status == 200, answer.body
    *tokens, usage = answer.lines()
    assert "".join(tokens) == "The capital of France is Paris."
    assert (len(tokens), usage["completion_tokens"]) == (7, 8)


@pytest.mark.e2e
def test_the_clients_of_openai_and_anthropic_chat(served: Served) -> None:
    """A conversation goes on, and an answer that is cut says so."""
    question: Any = [{"role": "user", "content": "What is the capital of France?"}]
    with OpenAI(base_url=f"{served.base_url}/v1", api_key="none", max_retries=0) as openai:
        answer = openai.chat.completions.create(model=chat.MODEL, messages=question, temperature=0)
        assert answer.choices[0].message.content == "The capital of France is Paris."
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 8
        talk: Any = [*question, answer.choices[0].message, {"role": "user", "content": "And that of Japan?"}]
        again = openai.chat.completions.create(model=chat.MODEL, messages=talk, temperature=0)
        assert "Tokyo" in str(again.choices[0].message.content)
    with Anthropic(base_url=served.base_url, api_key="none", max_retries=0) as anthropic:
        cut = anthropic.messages.create(model=chat.MODEL, messages=question, max_tokens=3)
        assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)


@pytest.mark.e2e
def test_a_prompt_that_is_too_long_is_refused(served: Served) -> None:
    """It is a 422 before anything is streamed."""
    answer = served.post_json("/chat", body("tea " * 2000))
    assert (answer.status, answer.json()["type"]) == (422, "urn:penstock:invalid-request")


@pytest.mark.e2e
def test_answers_advance_together(served: Served) -> None:
    """Each answer has begun before any of them has ended."""
    with Client(served.base_url) as client, ExitStack() as streams:
        bodies = [body(STORY, temperature=0, max_tokens=12 + slot) for slot in range(SLOTS)]
        answers = [streams.enter_context(client.stream("chat", each, timeout=60)) for each in bodies]
        for answer in answers:
            next(answer)
        assert counts(served) == (SLOTS, 0)
        assert [len(list(answer)) for answer in answers] == [13 + slot for slot in range(SLOTS)]


def hand_over_a_slot(served: Served, slots: int) -> None:
    """Have one more prompt than slots. It waits, until one of the other clients disconnects."""
    story = body(STORY, temperature=0, max_tokens=512)

    def first_chunk() -> str:
        with client.stream("chat", story, timeout=100) as chunks:
            return str(next(chunks))

    with Client(served.base_url) as client, ThreadPoolExecutor(1) as pool:
        with ExitStack() as streams:
            leaving = ExitStack()
            stacks = [leaving, *[streams] * (slots - 1)]
            others = [stack.enter_context(client.stream("chat", story, timeout=100)) for stack in stacks]
            for other in others:
                next(other)
            waiting = pool.submit(first_chunk)
            wait_until(lambda: counts(served) == (slots, 1), "one prompt waits, the others have slots")
            leaving.close()
            assert waiting.result(timeout=60)
            assert counts(served)[0] >= slots - 1
        wait_until(lambda: counts(served) == (0, 0), "no slot is taken any more")


@pytest.mark.e2e
def test_the_slot_of_a_client_that_left_is_used_by_the_next_one(served: Served) -> None:
    """A prompt that waits for a slot is answered when a client disconnects, before any other answer ends."""
    hand_over_a_slot(served, SLOTS)


@pytest.mark.e2e
@pytest.mark.thorough
def test_sixteen_slots_are_handed_over_too() -> None:
    """The example has sixteen slots unless the environment says otherwise."""
    with Served(ROOT / "examples" / "chat.py") as served:
        hand_over_a_slot(served, 16)
