"""The models that clients of the Open Inference Protocol talk to."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
import numpy as np

from penstock import App, Batching, Context, Tensor
from penstock.codec.tensors import DATATYPES
from penstock_oip import Infer

app = App(__name__)
Texts = Annotated[np.ndarray, Tensor("BYTES", [-1])]
Vector = Annotated[np.ndarray, Tensor("FP32", [-1])]
Rows = Annotated[np.ndarray, Tensor("FP32", [-1, 2])]
Scalar = Annotated[np.ndarray, Tensor("FP64", [])]


@app.endpoint("/iris", concurrency=8, dialects=[Infer(name="iris")])
def iris(x: Annotated[np.ndarray, Tensor("FP32", [-1, 4])]) -> Annotated[np.ndarray, Tensor("INT64", [-1])]:
    """Return the place of the largest measure of each flower."""
    return x.argmax(axis=1)


def _add_echo(datatype: str) -> None:
    """Add an endpoint that returns its input."""

    def echo(x: Any) -> Any:
        return x

    tensor = Annotated[np.ndarray, Tensor(datatype, [-1, -1])]
    echo.__annotations__ = {"x": tensor, "return": tensor}
    name = f"echo-{datatype.lower()}"
    app.endpoint(f"/{name}", name=name, dialects=[Infer(name=name)])(echo)


for each in DATATYPES:
    _add_echo(each)


@app.endpoint("/scalar", dialects=[Infer(name="scalar")])
def scalar(x: Scalar) -> Scalar:
    """Return a number and one."""
    return x + 1


class Pair(msgspec.Struct):
    """Two vectors of one length."""

    a: Vector
    b: Vector


class Sums(msgspec.Struct):
    """Several outputs."""

    total: Vector
    difference: Vector
    signs: Texts


@app.endpoint("/pair", dialects=[Infer(name="pair")])
def pair(vectors: Pair) -> Sums:
    """Add two vectors, subtract them, and say which is larger."""
    difference = vectors.a - vectors.b
    signs = np.where(difference == 0, "=", np.where(difference > 0, ">", "<")).astype(object)
    return Sums(vectors.a + vectors.b, difference, signs)


@app.endpoint("/shout", dialects=[Infer(name="org/shout it")])
def shout(text: Texts) -> Texts:
    """Return texts in capitals, from a model whose name has a slash and a space."""
    return np.array([item.decode(errors="replace").upper() for item in text], dtype=object)


@app.endpoint("/rows", batching=Batching(max_size=64, max_wait=0.2), dialects=[Infer(name="rows")])
def rows(x: Rows) -> Rows:
    """Return the first number of each row, and the number of rows that were handled together."""
    return np.stack([x[:, 0], np.full(len(x), len(x), dtype=np.float32)], axis=1)


@app.endpoint("/slow", concurrency=4, dialects=[Infer(name="slow")])
def slow(seconds: Scalar, context: Context) -> Scalar:
    """Sleep, and stop when the time of the caller is over."""
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        context.check()
        time.sleep(0.01)
    return seconds


@app.endpoint("/failing", dialects=[Infer(name="failing")])
def failing(x: Vector) -> Vector:
    """Raise an error."""
    raise RuntimeError("the model has failed")


@app.endpoint("/wrong", dialects=[Infer(name="wrong")])
def wrong(x: Vector) -> Vector:
    """Return another shape than the annotation says."""
    return x.reshape(1, -1)


class Table(msgspec.Struct):
    """The columns of a table, as MLServer and pandas send them."""

    amount: Annotated[np.ndarray, Tensor("FP64", [-1, 1])]
    count: Annotated[np.ndarray, Tensor("INT64", [-1, 1])]
    name: Annotated[np.ndarray, Tensor("BYTES", [-1, 1])]


class Summary(msgspec.Struct):
    """The columns of another one."""

    total: Annotated[np.ndarray, Tensor("FP64", [-1, 1])]
    title: Annotated[np.ndarray, Tensor("BYTES", [-1, 1])]


@app.endpoint("/table", dialects=[Infer(name="table")])
def table(columns: Table) -> Summary:
    """Multiply two columns, and write the third in capitals."""
    titles = [[name.decode().upper().encode()] for [name] in columns.name]
    return Summary(columns.amount * columns.count, np.array(titles, dtype=object))
