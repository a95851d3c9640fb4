"""The models of the tests of the protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import numpy as np

from penstock import App, Batching
from penstock.codec.tensors import DATATYPES
from penstock_oip import Infer, Tensor

Rows = Annotated[np.ndarray, Tensor("FP32", [-1, 2])]
Names = Annotated[np.ndarray, Tensor("BYTES", [-1])]


class Pair(msgspec.Struct):
    """Two tensors, one of them optional, and a number."""

    rows: Rows
    names: Names | None = None
    scale: float = 1.0


class Scaled(msgspec.Struct):
    """Two tensors, one of them optional."""

    rows: Rows
    names: Names | None = None


def models_app(datatypes: Iterable[str] = DATATYPES) -> App:
    """Return an app with models for all rules, and some that return their inputs of these datatypes."""
    app = App("models")

    @app.endpoint("/double", dialects=[Infer(outputs=["twice"])])
    def double(x: Rows, factor: float = 2.0) -> Rows:
        x *= np.float32(factor)
        return x

    @app.endpoint("/pair", dialects=[Infer(name="org/a pair", version="3")])
    def pair(pair: Pair) -> Scaled:
        return Scaled(pair.rows * np.float32(pair.scale), pair.names)

    @app.endpoint("/upper", dialects=[Infer()])
    def upper(text: Names) -> Names:
        return np.array([item.upper() for item in text.tolist()], dtype=object)

    @app.endpoint("/joined", batching=Batching(max_size=4, max_wait=0.1), dialects=[Infer()])
    def joined(x: Annotated[np.ndarray, Tensor("FP32", [-1, -1])]) -> Annotated[np.ndarray, Tensor("FP32", [-1])]:
        return x.sum(axis=1)

    @app.endpoint("/listed", batching=Batching(max_size=4, max_wait=0.1), dialects=[Infer()])
    def listed(x: list[Rows]) -> list[Rows]:
        return [rows * np.float32(3) for rows in x]

    @app.endpoint("/transposed", dialects=[Infer()])
    def transposed(x: Rows) -> Annotated[np.ndarray, Tensor("FP32", [2, -1])]:
        return x.T

    for datatype in datatypes:
        _add_echo(app, datatype)
    return app


def _add_echo(app: App, datatype: str) -> None:
    """Add a model that returns its input of any shape with two dimensions, and one for scalars."""
    for suffix, shape in (("", [-1, -1]), ("-scalar", [])):
        kind = Annotated[np.ndarray, Tensor(datatype, shape)]

        def echo(x: Any) -> Any:
            return x

        echo.__annotations__.update(x=kind, **{"return": kind})
        name = f"{datatype.lower()}{suffix}"
        app.endpoint(f"/{name}", name=name, dialects=[Infer()])(echo)
