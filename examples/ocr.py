"""Read a page: RapidOCR behind ``POST /read``. A PNG in, its lines of text and their positions out.

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

# One thread per session: the two workers run in parallel, and sessions that each use every core would compete.
SETTINGS = {
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Global.log_level": "error",  # a page without text is an answer here, not a warning
}


@dataclass
class Line:
    """A line of text. ``box`` has its corners in pixels, clockwise from the top left; ``score`` is from 0 to 1."""

    text: str
    box: list[list[float]]
    score: float


@dataclass
class Page:
    """The lines of a page, from top to bottom."""

    lines: list[Line]


def open_page(png: bytes) -> Image.Image:
    """Decode the whole PNG, so that an invalid one is the caller's error (422) and not the model's (500)."""
    try:
        return Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"the body is not a PNG that can be read: {error}") from error


@app.endpoint("/read", workers=2, timeouts=Timeouts(queue=30, execution=20))
class Read:
    """One OCR engine per worker."""

    def setup(self) -> None:
        """Load the models now (they ship in the wheel): RapidOCR would load each one at its first use."""
        self.engine = RapidOCR(params=SETTINGS)
        blank = Image.new("RGB", (64, 64), "white")
        self._run(blank, use_det=True, use_rec=False)
        self._run(blank, use_det=False, use_rec=True)

    def predict(self, page: bytes) -> Page:
        """Find and read the lines of a page."""
        found = self._run(open_page(page), use_det=True, use_rec=True)
        if found.txts is None:
            return Page(lines=[])
        lines = zip(found.txts, found.boxes.tolist(), found.scores, strict=True)
        return Page(lines=[Line(text, box, float(score)) for text, box, score in lines])

    def _run(self, page: Image.Image, *, use_det: bool, use_rec: bool) -> Any:
        # RapidOCR keeps these switches from one call to the next, so every call passes all of them.
        return self.engine(page, use_det=use_det, use_cls=False, use_rec=use_rec)
