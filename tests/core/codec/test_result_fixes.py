"""The code to write in place of a value that cannot be sent."""

from __future__ import annotations

import base64
import enum
import fractions
import io
import ipaddress
import re
import types
from typing import Any

import numpy as np
import pydantic
import pytest
from PIL import Image

from penstock.errors import HandlerError
from penstock.response import Response
from tests.core.codec import stand_ins
from tests.core.codec.sample_types import Colour, Tensor, codec, encode_chunk, square


class Hidden(enum.Enum):
    SECRET = object()


RECORDS = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
WORKING = [
    (1j, "[it.real, it.imag]", b"[0.0,1.0]"),
    (np.complex64(1j), "[it.real, it.imag]", b"[0.0,1.0]"),
    (np.array([1j], "c8"), "numpy.stack([array.real, array.imag], axis=-1).tolist()", b"[[0.0,1.0]]"),
    (RECORDS, "[dict(zip(array.dtype.names, row)) for row in array.tolist()]", b'[{"a":1,"b":2.0}]'),
    (RECORDS[0], "dict(zip(it.dtype.names, it.tolist()))", b'{"a":1,"b":2.0}'),
    (np.array([1, "a"], object), ".tolist()", b'[1,"a"]'),
    (np.array([b"ab"], "V2"), ".tolist()", b'["YWI="]'),
    (np.array(["30000-01-01"], "M8[D]"), "array.astype(str).tolist()", b'["30000-01-01"]'),
    (np.timedelta64(3, "M"), "str(it)", b'"3 months"'),
    (np.dtype("f4"), "str(it)", b'"float32"'),
    (fractions.Fraction(1, 4), "float(it)", b"0.25"),
    ({(1, 2): 3, None: 4}, "{str(key): value for key, value in it.items()}", b'{"(1, 2)":3,"None":4}'),
    (map(str, [1]), "list(it)", b'["1"]'),
    (iter([1]), "list(it)", b"[1]"),
    (Hidden.SECRET, "it.name", b'"SECRET"'),
    (types.SimpleNamespace(a=1), "vars(it)", b'{"a":1}'),
    (io.BytesIO(b"ab"), "it.getvalue()", b"ab"),
    (io.BufferedReader(io.BytesIO(b"ab")), "it.read()", b"ab"),  # type: ignore[arg-type] # it is a RawIOBase to mypy
    (ValueError("why"), "str(it)", b'"why"'),
    (Colour, "it.__name__", b'"Colour"'),
    (ipaddress.ip_address("::1"), "str(it)", b'"::1"'),
    (re.compile("a+"), "it.pattern", b'"a+"'),
    (pydantic.AnyUrl("http://a"), "str(it)", b'"http://a/"'),
    (pydantic.SecretStr("a"), "it.get_secret_value()", b'"a"'),
]
NAMES = ("it", "array")


@pytest.mark.parametrize(
    ("value", "code", "body"), WORKING, ids=[f"{type(value).__name__} {code[:20]}" for value, code, _ in WORKING]
)
def test_the_code_works(value: Any, code: str, body: bytes) -> None:
    """The error contains code that, pasted, makes a result that can be sent."""
    its = codec(square)
    with pytest.raises(HandlerError) as caught:
        its.encode(value)
    assert str(caught.value).endswith(code)
    written = f"it{code}" if code.startswith(".") else code
    assert its.encode(eval(written, dict.fromkeys(NAMES, value) | {"numpy": np})).body == body


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGB", "RGBA", "CMYK", "F", "I", "HSV", "LAB", "YCbCr"])
def test_a_picture_becomes_a_png(mode: str) -> None:
    """The code for a picture works in each of PIL's modes, not all of which are modes of PNG."""
    its = codec(square)
    image = Image.new(mode, (2, 2))
    names = {"image": image, "io": io, "Response": Response, "base64": base64}
    with pytest.raises(HandlerError) as caught:
        its.encode(image)
    prepare, _, answer = str(caught.value).rpartition("write ")[2].rpartition("; return ")
    exec(prepare, names)
    assert its.encode(eval(answer, names)).body.startswith(b"\x89PNG")
    with pytest.raises(HandlerError) as caught:
        its.encode({"a": image})
    prepare, _, answer = str(caught.value).rpartition("write ")[2].rpartition("; use ")
    exec(prepare, names)
    assert its.encode({"a": eval(answer, names)}).body.startswith(b'{"a":"iVBOR')


ANSWER = 'return Response(buffer.getvalue(), media_type="image/png")'
SPANS = stand_ins.categories_of("interval[float64, right]")
LABELLED = stand_ins.Index()


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        (stand_ins.DataFrame(), 'write frame.to_dict(orient="records")'),
        (
            stand_ins.DataFrame(missing=True),
            'write frame.astype(object).where(frame.notna(), None).to_dict(orient="records")',
        ),
        (stand_ins.DataFrame(index=LABELLED), 'write frame.reset_index().to_dict(orient="records")'),
        (
            stand_ins.DataFrame(levels=2),
            (
                'write frame.set_axis(["_".join(map(str, name)) for name in frame.columns], axis=1)'
                '.to_dict(orient="records")'
            ),
        ),
        (stand_ins.Series(), "write series.tolist()"),
        (stand_ins.Series(missing=True), "write series.astype(object).where(series.notna(), None).tolist()"),
        (stand_ins.Series(index=LABELLED), "write series.to_dict(), or series.tolist() without the labels"),
        (
            stand_ins.Series(index=stand_ins.Index(unique=False)),
            'write series.reset_index().to_dict(orient="records"), or series.tolist() without the labels',
        ),
        (
            stand_ins.Series(index=stand_ins.Index(dtype=SPANS)),
            "write series.rename(index=str).to_dict(), or series.rename(index=str).tolist() without the labels",
        ),
        (
            stand_ins.Series(dtype=SPANS, missing=True),
            'write series.map(str, na_action="ignore").astype(object).where(series.notna(), None).tolist()',
        ),
        (
            stand_ins.DataFrame(index=stand_ins.Index(dtype="period[M]")),
            'write frame.rename(index=str).reset_index().to_dict(orient="records")',
        ),
        (stand_ins.Index(dtype=SPANS), "write [str(item) for item in it]"),
        (LABELLED, "convert it with .tolist()"),
        (stand_ins.Index(levels=2), "convert it with .tolist()"),
        (stand_ins.Index(missing=True), "write [None if pandas.isna(item) else item for item in it]"),
        (stand_ins.NAType(), "write None in its place: None if pandas.isna(it) else it"),
        (stand_ins.Tensor(), "convert it with .tolist()"),
        (stand_ins.Parameter(), "convert it with .tolist()"),
        (stand_ins.Tensor(layout="torch.sparse_coo"), "write tensor.to_dense().tolist()"),
        (stand_ins.Tensor(is_complex=True), "write torch.view_as_real(tensor).tolist()"),
        (stand_ins.Tensor(device="meta"), "compute it on a device: a tensor on meta has no values"),
        (stand_ins.PolarsFrame(), "write frame.to_dicts()"),
        (stand_ins.Table(), "write table.to_pylist()"),
        (stand_ins.csr_matrix(), "write it.toarray().tolist()"),
        (
            stand_ins.Figure(),
            f'write buffer = io.BytesIO(); figure.savefig(buffer, format="png"); {ANSWER}',
        ),
        (
            stand_ins.Axes(),
            f'write buffer = io.BytesIO(); it.figure.savefig(buffer, format="png"); {ANSWER}',
        ),
        (Tensor(), "convert it with .tolist()"),
        (len, "call it, if its result is meant"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_the_fix_fits_the_value(value: Any, fix: str) -> None:
    """The code keeps what the value has: its labels, its columns; and it replaces what JSON does not have."""
    with pytest.raises(HandlerError) as caught:
        codec(square).encode(value)
    assert str(caught.value).endswith(f" at $; {fix}")


def test_a_chunk_is_not_a_response() -> None:
    """A picture in a stream of JSON becomes base64, since a chunk cannot be a ``Response``."""
    with pytest.raises(HandlerError, match="; use base64"):
        encode_chunk(codec(square), Image.new("1", (2, 2)))
    with pytest.raises(HandlerError, match=r"generator at \$\.a; write list\(it\)"):
        codec(square).encode({"a": (number for number in [1])})


def test_a_value_that_fails_while_it_is_looked_at_has_no_fix() -> None:
    """Methods of the value's type are called to choose the fix, and may fail; the type and place are still named."""

    class Broken(stand_ins.DataFrame):
        def isna(self) -> Any:
            raise LookupError

    with pytest.raises(HandlerError, match=r"Broken at \$$"):
        codec(square).encode(Broken())


def test_a_coroutine_in_a_result_was_not_awaited() -> None:
    """The fix for a coroutine inside a result is to await it."""

    async def answer() -> int:
        return 1

    coroutine = answer()
    with pytest.raises(HandlerError, match=r"coroutine at \$\.a; write `await` before the call"):
        codec(square).encode({"a": coroutine})
    coroutine.close()
