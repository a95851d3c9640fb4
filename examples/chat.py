"""Chat with a language model: ``POST /chat`` answers a prompt token by token, for up to 16 callers at the same time.

::

    penstock serve examples/chat.py
    curl -N -H 'Content-Type: application/json' -d '{"prompt": "What is the capital of France?"}' localhost:8000/chat

All answers advance together, one token in each step, so 16 of them cost four times as much as one, and not 16 times.
A new prompt joins at the next step, and the slot of a client that disconnects is free at the next step.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from language_model import END, END_OF_TEXT, LanguageModel, sample
from tokenizers.decoders import DecodeStream

from penstock import App, Done, InvalidRequest, Timeouts

app = App(__name__)

SLOTS = int(os.environ.get("CHAT_SLOTS", "16"))
# The tokens of new prompts that one step reads, so that a long prompt slows down the answers of others only a little
# (Agrawal et al., "Sarathi-Serve", OSDI 2024).
PROMPT_TOKENS = 32
SYSTEM_PROMPT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # as in its training
SYSTEM_SLOT = SLOTS  # a slot of the model only, from which each answer gets the system prompt


@dataclass
class Answer:
    """An answer in progress. The model has yet to read ``unread``; up to ``left`` tokens follow."""

    unread: list[int]
    left: int
    temperature: float
    dice: np.random.Generator
    words: DecodeStream  # holds back the bytes of a character that is not complete


@app.endpoint("/chat", max_slots=SLOTS, timeouts=Timeouts(queue=10, execution=300, first_chunk=60, idle=30))
class Chat:
    """One model per worker, which produces the answers in all of its slots."""

    def setup(self) -> None:
        """Load the model, and have it read the system prompt."""
        self.model = LanguageModel(slots=SLOTS + 1)
        self.model.read({SYSTEM_SLOT: self.model.message_tokens("system", SYSTEM_PROMPT)})
        self.answers: dict[int, Answer] = {}  # the oldest first

    def admit(
        self,
        slot: int,
        prompt: str,
        max_tokens: Annotated[int, msgspec.Meta(ge=1, le=512)] = 64,
        temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.7,
        seed: int | None = None,
    ) -> None:
        """Begin an answer. With the temperature 0, or a seed, the same prompt is answered alike."""
        tokens = [*self.model.message_tokens("user", prompt), *self.model.answer_tokens()]
        room = self.model.context - self.model.lengths[SYSTEM_SLOT] - max_tokens
        if len(tokens) > room:
            raise InvalidRequest(f"prompt: it has {len(tokens)} tokens; there is room for {room} and the answer")
        self.model.copy(SYSTEM_SLOT, slot)
        self.answers[slot] = Answer(tokens, max_tokens, temperature, np.random.default_rng(seed), DecodeStream())

    def step(self, slots: list[int]) -> dict[int, str | Done]:
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
        if token in {END, END_OF_TEXT}:
            return Done()
        answer.left -= 1
        answer.unread = [token]
        characters: str | None = answer.words.step(self.model.tokenizer, token)
        return characters if answer.left else Done(characters)

    def release(self, slot: int) -> None:
        """Forget an answer, which has ended or is not wanted any more."""
        self.answers.pop(slot, None)  # admit may have refused the prompt
        self.model.reset(slot)
