"""Tensors of 256 MB, with the HTTP client of Triton."""

from __future__ import annotations

from typing import Any

import numpy as np
import tritonclient.http as triton
from program import URL, expect, run

HOST = URL.partition("://")[2]
ARRAY = np.arange(64 << 20, dtype=np.float32).reshape(64, 1 << 20)


def echoed(array: Any, **options: Any) -> Any:
    """Return a tensor that the server has returned."""
    with triton.InferenceServerClient(HOST, network_timeout=300.0, connection_timeout=300.0) as client:
        given = triton.InferInput("x", list(array.shape), "FP32").set_data_from_numpy(array)
        return client.infer("echo-fp32", [given], **options).as_numpy("output")


def check_256_mb_each_way() -> None:
    for _ in range(2):
        expect(bool((echoed(ARRAY) == ARRAY).all()), True)


def check_256_mb_compressed() -> None:
    zeros = np.zeros_like(ARRAY)
    expect(bool((echoed(zeros, request_compression_algorithm="gzip") == zeros).all()), True)


if __name__ == "__main__":
    run(dict(globals()))
