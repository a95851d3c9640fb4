"""Read a page line by line: each line of ``POST /lines`` is sent as soon as it is recognised.

::

    penstock serve examples/stream.py
    curl -N --data-binary @examples/data/page.png localhost:8000/lines

The answer is NDJSON, or server-sent events with ``-H 'Accept: text/event-stream'``. If curl is stopped halfway, the
worker stops reading the page.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image
from rapidocr import RapidOCR

from penstock import App, InvalidRequest, Timeouts

app = App(__name__)

SETTINGS = {
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Global.log_level": "error",  # a page without text is an answer here, not a warning
}
MARGIN_PIXELS = 3  # a little white around the letters improves the recognition


@dataclass
class Line:
    """A line of text, the ``number``-th of ``total`` from the top; ``score`` is the confidence, from 0 to 1."""

    number: int
    total: int
    text: str
    score: float


def open_page(png: bytes) -> Image.Image:
    """Decode the whole PNG, so that an invalid one is the caller's error (422) and not the model's (500)."""
    try:
        return Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"the body is not a PNG that can be read: {error}") from error


@app.endpoint("/lines", timeouts=Timeouts(execution=60, first_chunk=20, idle=10))
class Lines:
    """One OCR engine per worker."""

    def setup(self) -> None:
        """Load the models now (they ship in the wheel): RapidOCR would load each one at its first use."""
        self.engine = RapidOCR(params=SETTINGS)
        blank = Image.new("RGB", (64, 64), "white")
        self._find_boxes(blank)
        self._recognise(blank)

    def predict(self, page: bytes) -> Iterator[Line]:
        """Locate the lines, then read them one by one from top to bottom."""
        image = open_page(page)
        boxes = self._find_boxes(image)
        for number, box in enumerate(boxes, start=1):
            text, score = self._recognise(image.crop(box))
            yield Line(number, len(boxes), text, score)

    def _find_boxes(self, image: Image.Image) -> list[tuple[int, int, int, int]]:
        """Return the upright rectangle (left, top, right, bottom; pixels) of each line, from top to bottom."""
        found = self._run(image, use_det=True, use_rec=False)
        if found.boxes is None:
            return []
        lows = found.boxes.min(axis=1).astype(int) - MARGIN_PIXELS
        highs = found.boxes.max(axis=1).astype(int) + MARGIN_PIXELS
        rectangles = zip(lows.clip(0).tolist(), highs.tolist(), strict=True)
        boxes = [(left, top, right, bottom) for (left, top), (right, bottom) in rectangles]
        return sorted(boxes, key=lambda box: (box[1], box[0]))

    def _recognise(self, strip: Image.Image) -> tuple[str, float]:
        found = self._run(strip, use_det=False, use_rec=True)
        return found.txts[0], float(found.scores[0])

    def _run(self, image: Image.Image, *, use_det: bool, use_rec: bool) -> Any:
        # RapidOCR keeps these switches from one call to the next, so every call passes all of them.
        return self.engine(image, use_det=use_det, use_cls=False, use_rec=use_rec)
