"""Endpoints that take and return tensors."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from penstock import App, Batching, Tensor

app = App(__name__)

Rows = Annotated[np.ndarray, Tensor("FP32", [-1, 2])]


@app.endpoint("/double")
def double(x: Rows, factor: float = 2.0) -> Rows:
    x *= np.float32(factor)  # the array is the handler's own
    return x


@app.endpoint("/rows", batching=Batching(max_size=8, max_wait=2.0))
def rows(x: Rows) -> Annotated[np.ndarray, Tensor("INT64", [-1])]:
    return np.full(len(x), len(x))


@app.endpoint("/rows-patient", batching=Batching(max_size=8, max_wait=60.0))
def rows_patient(x: Rows) -> Annotated[np.ndarray, Tensor("INT64", [-1])]:
    return np.full(len(x), len(x))


@app.endpoint("/wrong")
def wrong(x: Rows) -> Rows:
    return x.astype("float64")
