"""Models of the Open Inference Protocol: each does one thing with its tensors."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np

from penstock import App, Batching, Context, Timeouts
from penstock_oip import Infer, Tensor

app = App(__name__)

Rows = Annotated[np.ndarray, Tensor("FP32", [-1, 4])]
Names = Annotated[np.ndarray, Tensor("BYTES", [-1])]


@dataclass
class RowsAndNames:
    """Two tensors, one of them optional."""

    rows: Annotated[np.ndarray, Tensor("FP32", [-1, 2])]
    names: Names | None


@app.endpoint("/iris", dialects=[Infer(name="iris", outputs=["probabilities"])])
def iris(x: Rows, scale: float = 1.0) -> Annotated[np.ndarray, Tensor("FP32", [-1, 3])]:
    """Return the first three columns, scaled; in place, so that the array has to be one that may be changed."""
    x *= np.float32(scale)
    return x[:, :3]


class Everything(msgspec.Struct):
    """A tensor of each datatype, all of them optional."""

    b: Annotated[np.ndarray, Tensor("BOOL", [-1])] | None = None
    u8: Annotated[np.ndarray, Tensor("UINT8", [-1])] | None = None
    u16: Annotated[np.ndarray, Tensor("UINT16", [-1])] | None = None
    u32: Annotated[np.ndarray, Tensor("UINT32", [-1])] | None = None
    u64: Annotated[np.ndarray, Tensor("UINT64", [-1])] | None = None
    i8: Annotated[np.ndarray, Tensor("INT8", [-1])] | None = None
    i16: Annotated[np.ndarray, Tensor("INT16", [-1])] | None = None
    i32: Annotated[np.ndarray, Tensor("INT32", [-1])] | None = None
    i64: Annotated[np.ndarray, Tensor("INT64", [-1])] | None = None
    f16: Annotated[np.ndarray, Tensor("FP16", [-1])] | None = None
    bf16: Annotated[np.ndarray, Tensor("BF16", [-1])] | None = None
    f32: Annotated[np.ndarray, Tensor("FP32", [-1])] | None = None
    f64: Annotated[np.ndarray, Tensor("FP64", [-1])] | None = None
    text: Annotated[np.ndarray, Tensor("BYTES", [-1])] | None = None


@app.endpoint("/everything", dialects=[Infer(name="org/every thing")])
def everything(tensors: Everything) -> Everything:
    """Return all tensors as they are."""
    return tensors


@app.endpoint("/pair", dialects=[Infer(name="org/a pair", version="3")])
def pair(
    rows: Annotated[np.ndarray, Tensor("FP32", [-1, 2])], names: Names | None = None, scale: float = 1.0
) -> RowsAndNames:
    """Return two tensors, one of them scaled."""
    return RowsAndNames(rows * np.float32(scale), names)


@app.endpoint("/joined", batching=Batching(max_size=4, max_wait=0.001), dialects=[Infer()])
def joined(x: Annotated[np.ndarray, Tensor("FP32", [-1, -1])]) -> Annotated[np.ndarray, Tensor("FP32", [-1])]:
    """Return the sums of rows of any length."""
    return x.sum(axis=1)


@app.endpoint("/bytes", name="bytes", dialects=[Infer()])
def texts(x: Annotated[np.ndarray, Tensor("BYTES", [-1, -1])]) -> Annotated[np.ndarray, Tensor("BYTES", [-1, -1])]:
    """Return texts as they are."""
    return x


@app.endpoint("/scalar", dialects=[Infer(name="scalar")])
def scalar(x: Annotated[np.ndarray, Tensor("INT64", [])]) -> Annotated[np.ndarray, Tensor("INT64", [])]:
    """Return the square of a number."""
    return np.asarray(x * x)


@app.endpoint("/upper", dialects=[Infer(name="upper")])
def upper(text: Annotated[np.ndarray, Tensor("BYTES", [-1])]) -> Annotated[np.ndarray, Tensor("BYTES", [-1])]:
    """Return texts in capital letters."""
    return np.array([item.upper() for item in text.tolist()], dtype=object)


@dataclass
class Sums:
    """The sums of a batch."""

    total: Annotated[np.ndarray, Tensor("FP32", [-1])]
    rows: Annotated[np.ndarray, Tensor("INT64", [-1])]


@app.endpoint(
    "/sums",
    name="sums",
    batching=Batching(max_size=8, max_wait=0.05),
    dialects=[Infer(version="1"), Infer(name="total", outputs=["total", "rows"])],
)
def sums(x: Rows) -> Sums:
    """Return the sum of each row, and the number of rows that were summed together."""
    return Sums(x.sum(axis=1), np.full(len(x), len(x), dtype=np.int64))


@app.endpoint("/sums2", name="sums2", dialects=[Infer(name="sums", version="10")])
def newer_sums(x: Rows) -> Annotated[np.ndarray, Tensor("FP32", [-1])]:
    """Return the sum of each row, as version 10."""
    return x.sum(axis=1)


@app.endpoint(
    "/slow",
    dialects=[Infer(name="slow")],
    timeouts=Timeouts(queue=5, execution=10),
    max_queue=1,
    pool="slow",
    workers=1,
)
def slow(x: Annotated[np.ndarray, Tensor("FP64", [1])]) -> Annotated[np.ndarray, Tensor("FP64", [1])]:
    """Sleep for a number of seconds, and return it."""
    time.sleep(float(x[0]))
    return x


@app.endpoint("/process", dialects=[Infer(name="process")])
def process(
    x: Annotated[np.ndarray, Tensor("INT32", [1])], ctx: Context
) -> Annotated[np.ndarray, Tensor("INT64", [2])]:
    """Return the id of the worker, and the milliseconds that are left; a negative number ends the worker."""
    if x[0] < 0:
        raise ValueError("a negative number")
    left = ctx.remaining()
    return np.array([os.getpid(), -1 if left is None else int(left * 1000)])


@app.endpoint("/raw")
def raw(body: bytes) -> bytes:
    """Return bytes as they are."""
    return body


@app.endpoint("/copy", dialects=[Infer(name="copy")])
def copy(x: Annotated[np.ndarray, Tensor("FP32", [-1])]) -> Annotated[np.ndarray, Tensor("FP32", [-1])]:
    """Return a tensor as it is."""
    return x
