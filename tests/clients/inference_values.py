"""Tensors that the programs here send."""

from __future__ import annotations

from typing import Any

import numpy as np

FLOWERS = np.array([[5.1, 3.5, 1.4, 0.2], [1, 2, 3, 4]], dtype=np.float32)
PLAIN_VALUES: dict[str, Any] = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], dtype=np.uint8),
    "UINT16": np.array([[0, 65535]], dtype=np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], dtype=np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], dtype=np.uint64),
    "INT8": np.array([[-128, 127]], dtype=np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], dtype=np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], dtype=np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], dtype=np.int64),
    "FP16": np.array([[0.5, -65504]], dtype=np.float16),
    "FP32": np.array([[0.1, -3e38]], dtype=np.float32),
    "FP64": np.array([[0.1, 1e308]], dtype=np.float64),
    "BYTES": np.array([["a", "é \u2028"]], dtype=object),
}
"""A tensor of each datatype that numpy has itself, with the extremes of its range."""
