"""The models of the tests of the Open Inference Protocol, and one that takes its time."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np

from penstock import Timeouts
from penstock_oip import Infer, Tensor
from tests.plugins.oip.oip_models import models_app

app = models_app()


@app.endpoint("/slow", timeouts=Timeouts(execution=5.0), dialects=[Infer()])
def slow(x: Annotated[np.ndarray, Tensor("FP32", [-1])]) -> Annotated[np.ndarray, Tensor("FP32", [-1])]:
    """Sleep for as many seconds as the first element says."""
    time.sleep(float(x[0]))
    return x


@app.endpoint("/broken", dialects=[Infer()])
def broken(x: Annotated[np.ndarray, Tensor("FP32", [-1])]) -> Annotated[np.ndarray, Tensor("FP32", [-1])]:
    """Fail."""
    raise ValueError("the secret of a model")
