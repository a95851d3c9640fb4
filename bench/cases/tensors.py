"""Tensors: 4 MB of binary data each way, beside the same bytes without a protocol."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from closed_loop import closed_loop
from contenders import PENSTOCK
from harness import Case, Figures, Pace
from http_client import Payload, as_bytes
from results import Column, Result
from servers import Server

SIZE_BYTES = 4 << 20
CONNECTIONS = (1, 2)


def inference(data: bytes) -> tuple[Payload, dict[str, str]]:
    """Return the body of a request with one vector, and its headers."""
    vector = {"name": "x", "shape": [len(data) // 4], "datatype": "FP32"}
    document = {
        "parameters": {"binary_data_output": True},
        "inputs": [{**vector, "parameters": {"binary_data_size": len(data)}}],
    }
    head = json.dumps(document).encode()
    return as_bytes(head + data), {"Inference-Header-Content-Length": str(len(head))}


def measure(server: Server, pace: Pace, _: Any) -> Figures:
    """Measure the endpoint that takes a tensor, and the one that takes bytes, at 1 and at 2 connections."""
    data = os.urandom(SIZE_BYTES)
    tensor, headers = inference(data)
    loads = {
        "tensor": (dataclasses.replace(server, headers={**server.headers, **headers}), tensor),
        "bytes": (dataclasses.replace(server, endpoint="bytes"), as_bytes(data)),
    }
    figures: Figures = {}
    for name, (target, payload) in loads.items():
        closed_loop(target, payload, connections=2, seconds=1)
        for connections in CONNECTIONS:
            load = closed_loop(target, payload, connections=connections, seconds=pace.seconds)
            found = {"rate": load.rate, "p50": load.p50 / 1000, "cpu": load.cpu / 1000, "failed": load.failed}
            figures |= {f"{name}_{key}_{connections}": value for key, value in found.items()}
    return figures


CASE = Case(
    name="tensor",
    endpoint="v2/models/same/infer",
    measure=measure,
    most_rounds=3,
    contenders=(PENSTOCK,),
)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Tensors",
        "",
        (
            "A vector of 4 MB of FP32, which the handler returns, as binary data of the Open Inference Protocol; and "
            "an endpoint that takes bytes and returns them, with the same 4 MB. Closed loop."
        ),
    ]
    for connections in CONNECTIONS:
        kinds = ("tensor", "bytes")
        title = f"{connections} connection{'s' * (connections > 1)}"
        columns = [Column(f"{title}, as {kind}: requests/s", f"{kind}_rate_{connections}") for kind in kinds]
        columns += [Column(f"p50 as {kind}, ms", f"{kind}_p50_{connections}", "{:,.1f}") for kind in kinds]
        columns += [Column(f"CPU as {kind}, ms", f"{kind}_cpu_{connections}", "{:,.1f}") for kind in kinds]
        lines += ["", *result.table(columns)]
    lines.append("")
    for connections in CONNECTIONS:
        tensor, raw = (result.median("penstock", f"{kind}_p50_{connections}") for kind in ("tensor", "bytes"))
        if tensor and raw:
            title = f"{connections} connection{'s' * (connections > 1)}"
            lines.append(f"At {title}, the tensor takes {tensor / raw:.2f} times as long as the bytes.")
    failed = [result.median("penstock", f"{kind}_failed_{n}") for kind in ("tensor", "bytes") for n in CONNECTIONS]
    if any(failed):
        lines.append("Some requests failed.")
    return lines
