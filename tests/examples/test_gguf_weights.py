from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from examples.gguf_weights import read_gguf

HEAD = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(kind: int, shape: tuple[int, ...], data: bytes) -> bytes:
    """Return a file with two fields, a number and a list of texts, and one tensor at the first multiple of 32 bytes."""
    fields = text("size") + struct.pack("<II", 4, 7)
    fields += text("words") + struct.pack("<IIQ", 9, 8, 2) + text("tea") + text("é")
    tensor = text("t") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, 0)
    front = HEAD + fields + tensor
    return front + bytes(-len(front) % 32) + data


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


def test_metadata_is_read_by_name(tmp_path: Path) -> None:
    """Numbers, texts and lists of them are Python's."""
    metadata, _ = read_gguf(write(tmp_path, gguf(0, (1,), bytes(4))))
    assert metadata == {"size": 7, "words": ["tea", "é"]}


def test_the_fastest_axis_is_the_last(tmp_path: Path) -> None:
    """The file names it first."""
    _, tensors = read_gguf(write(tmp_path, gguf(0, (3, 2), struct.pack("<6f", *range(6)))))
    assert tensors["t"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_8_bits_are_multiplied_by_the_scale_of_their_block(tmp_path: Path) -> None:
    """Type Q8_0: a scale and 32 signed bytes."""
    data = struct.pack("<e32b", 0.5, *range(-16, 16)) + struct.pack("<e32b", 2.0, *range(32))
    _, tensors = read_gguf(write(tmp_path, gguf(8, (32, 2), data)))
    assert np.array_equal(tensors["t"], [np.arange(-16, 16) / 2, np.arange(32) * 2])


def test_4_bits_are_scaled_and_shifted(tmp_path: Path) -> None:
    """Type Q4_1: a scale, a minimum, and 16 bytes whose low halves come first."""
    data = struct.pack("<2e16B", 0.5, -1.0, *(low | (15 - low) << 4 for low in range(16)))
    _, tensors = read_gguf(write(tmp_path, gguf(3, (32,), data)))
    assert tensors["t"].tolist() == [n / 2 - 1 for n in [*range(16), *range(15, -1, -1)]]


def test_another_file_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(ValueError, match=r"model\.gguf is not a GGUF file"):
        read_gguf(write(tmp_path, b"PK\x03\x04 and so on"))
