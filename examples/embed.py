"""Embed texts: WordLlama behind ``POST /embed``. A text in, a vector out.

It needs requirements/examples.txt, and requirements/weights.txt by ``pip install --no-deps -r``.

::

    penstock serve examples/embed.py
    curl -H 'Content-Type: application/json' -d '"a cat on a mat"' localhost:8000/embed

The client of OpenAI (``base_url="http://localhost:8000/v1"``) finds it as the model ``wordllama``.

Texts with similar meanings have similar vectors. They have 256 numbers and length 1, so the similarity of two texts is
the dot product of their vectors, between -1 and 1.
"""

from __future__ import annotations

import logging
from pathlib import Path

from penstock import App, Batching, InvalidRequest, Timeouts
from penstock_openai import Embeddings

app = App(__name__)


@app.endpoint(
    "/embed",
    batching=Batching(max_size=64, max_wait=0.002),
    timeouts=Timeouts(queue=5, execution=10),
    dialects=[Embeddings(model="wordllama", is_default=True)],
)
class Embed:
    """One loaded model per worker."""

    def setup(self) -> None:
        """Load the model, whose weights are in the wheel. Nothing is downloaded."""
        # Imported here, in the worker: pydantic and requests come with it, which the server has no use for.
        import wordllama  # noqa: PLC0415 - see the comment above

        logging.getLogger("wordllama").setLevel(logging.WARNING)
        # The package looks for its tokenizer in a folder that the wheel has under another name, unless it is the cache.
        package = Path(wordllama.__file__).parent
        self.model = wordllama.WordLlama.load(cache_dir=package, disable_download=True)

    def predict(self, text: list[str]) -> list[list[float] | Exception]:
        """Return the vector of each text. A batch of 32 takes a third of the time of 32 calls."""
        vectors = self.model.embed(text)
        lengths = (vectors**2).sum(axis=1, keepdims=True) ** 0.5
        return [
            (vector / length).tolist() if length else InvalidRequest("text: it has no words to embed")
            for vector, length in zip(vectors, lengths[:, 0], strict=True)
        ]
