"""Read the weights of a language model from a GGUF file, the format of llama.cpp.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The package ``gguf`` reads it too, but needs five
seconds for the vocabulary of this model, and a worker that is replaced should be ready sooner.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]

# Formats of struct by the number of a type in the file. Two further types are read by methods of their own.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, LIST = 8, 9
BLOCK = 32  # numbers that share one scale
Q8 = np.dtype([("scale", "<f2"), ("values", "i1", BLOCK)])
Q4 = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("pairs", "u1", BLOCK // 2)])


class _Cursor:
    """A position in the file, which moves past what is read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0

    def number(self, code: str) -> Any:
        [value] = struct.unpack_from(f"<{code}", self.data, self.position)
        self.position += struct.calcsize(code)
        return value

    def text(self) -> str:
        size = self.number("Q")
        self.position += size
        return self.data[self.position - size : self.position].decode()

    def value(self, kind: int) -> Any:
        if kind == TEXT:
            return self.text()
        if kind == LIST:
            inner, count = self.number("I"), self.number("Q")
            return [self.value(inner) for _ in range(count)]
        return self.number(NUMBERS[kind])


def _floats(data: mmap.mmap, count: int, offset: int) -> Array:
    return np.frombuffer(data, "<f4", count, offset).copy()


def _from_4_bits(data: mmap.mmap, count: int, offset: int) -> Array:
    """Decode type Q4_1: each byte has two numbers of a block, of its first half and of its second."""
    blocks = np.frombuffer(data, Q4, count // BLOCK, offset)
    values = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1, dtype=np.float32)
    values *= blocks["scale"][:, None].astype(np.float32)
    values += blocks["minimum"][:, None].astype(np.float32)
    return values


def _from_8_bits(data: mmap.mmap, count: int, offset: int) -> Array:
    """Decode type Q8_0."""
    blocks = np.frombuffer(data, Q8, count // BLOCK, offset)
    return blocks["values"] * blocks["scale"][:, None].astype(np.float32)


# By the number of a type of tensors. The file has others, which this model does not use.
DECODERS: dict[int, Callable[[mmap.mmap, int, int], Array]] = {0: _floats, 3: _from_4_bits, 8: _from_8_bits}


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the metadata and the tensors of a file, by name; tensors become 32-bit floats.

    Raises
    ------
    ValueError
        If it is not a GGUF file.
    KeyError
        If a tensor has a type that is not in ``DECODERS``.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data)
        if cursor.number("4s") != b"GGUF":
            raise ValueError(f"{path} is not a GGUF file")
        _version, tensors, fields = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
        metadata = {cursor.text(): cursor.value(cursor.number("I")) for _ in range(fields)}
        entries = [_tensor_entry(cursor) for _ in range(tensors)]
        alignment = metadata.get("general.alignment", 32)
        start = -(-cursor.position // alignment) * alignment
        return metadata, {
            name: DECODERS[kind](data, int(np.prod(shape)), start + offset).reshape(shape)
            for name, shape, kind, offset in entries
        }


def _tensor_entry(cursor: _Cursor) -> tuple[str, list[int], int, int]:
    """Read a tensor's name, shape, type and offset. The file has the fastest axis first, numpy has it last."""
    name = cursor.text()
    shape = [cursor.number("Q") for _ in range(cursor.number("I"))]
    return name, shape[::-1], cursor.number("I"), cursor.number("Q")
