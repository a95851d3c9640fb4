from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import BadRequestError, OpenAI

from examples import embed
from penstock import InvalidRequest
from tests.serving import ROOT, Served

TEXTS = ["a cat on a mat", "the kitten lies on the rug", "stock prices fell sharply", "shares lost a lot of value"]


def similarity(one: list[float], other: list[float]) -> float:
    """Return the dot product of two vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def embedded(model: embed.Embed, texts: list[str]) -> list[list[float]]:
    """Return the vectors of texts, none of which is refused."""
    vectors = model.predict(texts)
    return [vector for vector in vectors if not isinstance(vector, Exception)]


@pytest.fixture(scope="module")
def model() -> embed.Embed:
    model = embed.Embed()
    model.setup()
    return model


def test_similar_texts_have_similar_vectors(model: embed.Embed) -> None:
    """Each text is closest to the one that says the same in other words."""
    cat, kitten, stock, shares = embedded(model, TEXTS)
    assert similarity(cat, kitten) > 0.3 > max(similarity(cat, stock), similarity(cat, shares))
    assert similarity(stock, shares) > 0.3 > max(similarity(kitten, stock), similarity(kitten, shares))


def test_vectors_have_length_one(model: embed.Embed) -> None:
    """A dot product is the cosine, whatever the length of the text."""
    for vector in embedded(model, ["tea", "tea " * 5000, "🙂"]):
        assert len(vector) == 256
        assert math.isclose(similarity(vector, vector), 1.0, rel_tol=1e-5)


def test_a_text_without_words_is_refused_alone(model: embed.Embed) -> None:
    """The other texts of its batch are embedded."""
    before, refused, after = model.predict(["tea", "", "tea"])
    assert isinstance(refused, InvalidRequest)
    assert before == after != []


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights and the tokenizer are in the wheel: ``setup`` opens no connection."""

    def refuse(*_: object) -> None:
        raise AssertionError("setup has opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    embed.Embed().setup()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(ROOT / "examples" / "embed.py") as served:
        yield served


@pytest.mark.e2e
def test_requests_that_share_a_batch_each_get_their_own_vector(served: Served, model: embed.Embed) -> None:
    """Sixteen clients at once get what the model computes for each text alone."""
    expected = [embedded(model, [text])[0] for text in TEXTS]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: served.post_json("/embed", text), TEXTS * 8))
    for answer, vector in zip(answers, expected * 8, strict=True):
        assert answer.status == 200, answer.body
        assert answer.json() == pytest.approx(vector, abs=1e-5)


@pytest.mark.e2e
def test_the_client_of_openai_embeds_several_texts(served: Served, model: embed.Embed) -> None:
    """Each of them is a job, so they share batches with those of others; an empty one refuses the request."""
    with OpenAI(base_url=f"{served.base_url}/v1", api_key="none", max_retries=0) as client:
        answer = client.embeddings.create(model="wordllama", input=TEXTS)
        for item, vector in zip(answer.data, embedded(model, TEXTS), strict=True):
            assert item.embedding == pytest.approx(vector, abs=1e-5)
        with pytest.raises(BadRequestError):
            client.embeddings.create(model="wordllama", input=["tea", ""])


@pytest.mark.e2e
def test_a_text_without_words_is_the_callers_error(served: Served) -> None:
    """It is answered with 422, and the reason."""
    answer = served.post_json("/embed", "")
    assert answer.status == 422
    assert "no words" in answer.json()["detail"]
