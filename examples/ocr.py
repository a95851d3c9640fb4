"""Read a page: RapidOCR behind ``POST /read``: a PNG in, its lines of text with their places out.

::

    penstock serve examples/ocr.py
    curl --data-binary @examples/data/page.png localhost:8000/read
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image
from rapidocr import RapidOCR

from penstock import App, InvalidRequest, Timeouts

app = App(__name__)

# One thread for each session: the two workers are the parallelism, and sessions that each take every core fight.
SETTINGS = {
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Global.log_level": "error",  # a page without text is an answer here, not a warning
}


@dataclass
class Line:
    """One line of text. ``box`` has its corners in pixels, clockwise from the top left; ``score`` is 0 to 1."""

    text: str
    box: list[list[float]]
    score: float


@dataclass
class Page:
    """The lines of a page, from top to bottom."""

    lines: list[Line]


def open_page(png: bytes) -> Image.Image:
    """Decode a PNG in full, so that a bad one is the caller's error (422) and not the model's (500)."""
    try:
        return Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"the body is not a PNG that can be read: {error}") from error


@app.endpoint("/read", workers=2, timeouts=Timeouts(queue=30, execution=20))
class Read:
    """One OCR engine in each of the two workers."""

    def setup(self) -> None:
        """Load the models, which are inside the wheel, now: RapidOCR would load each at its first use."""
        self.engine = RapidOCR(params=SETTINGS)
        blank = Image.new("RGB", (64, 64), "white")
        self._run(blank, use_det=True, use_rec=False)
        self._run(blank, use_det=False, use_rec=True)

    def predict(self, page: bytes) -> Page:
        """Find the lines of a page, and read them."""
        found = self._run(open_page(page), use_det=True, use_rec=True)
        if found.txts is None:
            return Page(lines=[])
        lines = zip(found.txts, found.boxes.tolist(), found.scores, strict=True)
        return Page(lines=[Line(text, box, float(score)) for text, box, score in lines])

    def _run(self, page: Image.Image, *, use_det: bool, use_rec: bool) -> Any:
        # RapidOCR remembers these switches from call to call, so each call gives all of them.
        return self.engine(page, use_det=use_det, use_cls=False, use_rec=use_rec)
