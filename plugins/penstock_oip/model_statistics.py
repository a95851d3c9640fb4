"""The counts of a model, in the shape that Triton's clients read, from those that the engine keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from penstock_oip.served_models import ServedModel

_NANOSECONDS: Final = 1_000_000_000
_SUCCEEDED: Final = "ok"


def statistics_of(model: ServedModel, counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statistics of a model.

    Parameters
    ----------
    model:
        The model.
    counts:
        The entry of its endpoint in the engine's status.
    """
    totals: Mapping[str, int] = counts["totals"]
    succeeded = totals.get(_SUCCEEDED, 0)
    sizes: Mapping[str, int] = counts.get("batch_sizes") or {}
    useful = _duration(succeeded, counts["useful_seconds"])
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": 0,
        "inference_count": succeeded,
        "execution_count": sum(sizes.values()) if sizes else succeeded,
        "inference_stats": {
            "success": useful,
            "fail": _duration(sum(totals.values()) - succeeded, 0.0),
            "queue": _duration(0, 0.0),
            "compute_input": _duration(0, 0.0),
            "compute_infer": useful,
            "compute_output": _duration(0, 0.0),
            "cache_hit": _duration(0, 0.0),
            "cache_miss": _duration(0, 0.0),
        },
        "batch_stats": [
            {"batch_size": int(size), "compute_infer": _duration(number, 0.0)} for size, number in sizes.items()
        ],
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * _NANOSECONDS)}
