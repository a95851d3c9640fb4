"""Bodies in the format of a dialect, as workers decode them."""

from __future__ import annotations

import msgspec
import pytest

from penstock import App
from penstock.errors import DeclarationError, HandlerError, InvalidRequest
from penstock.hooks import decoded_by, form_pairs
from penstock.wire import InputForm


def upper(body: bytes) -> bytes:
    """Turn a word into the JSON that the endpoint reads."""
    if not body:
        raise InvalidRequest("no word")
    return msgspec.json.encode({"word": body.decode().upper()})


def decode(body: bytes, form: InputForm) -> object:
    app = App("tests")

    @app.endpoint("/shout")
    def shout(word: str) -> str:
        return word

    codec = app.endpoints[0].codec
    return codec.call(shout, codec.decode(body, form))


def test_a_function_of_a_module_decodes() -> None:
    """It is found by its name, as a worker finds it, and makes the endpoint's own input."""
    assert decode(b"loud", decoded_by(upper)) == "LOUD"


def read_form(body: bytes, media_type: str) -> bytes:
    """Turn a form into the JSON that the endpoint reads."""
    return msgspec.json.encode(dict(form_pairs(body, media_type)))


def test_a_decoder_may_need_the_content_type() -> None:
    """A form cannot be read without."""
    assert decode(b"word=loud", decoded_by(read_form, "application/x-www-form-urlencoded")) == "loud"


def test_a_decoder_may_refuse() -> None:
    """With an error of its own, or by making an input that does not fit."""
    with pytest.raises(InvalidRequest, match="no word"):
        decode(b"", decoded_by(upper))


@pytest.mark.parametrize("decoder", ["nowhere_at_all:decode", "json:nothing", f"{__name__}:upper"])
def test_a_decoder_that_fails_is_an_error_of_the_handler(decoder: str) -> None:
    """It cannot be imported, or it raises."""
    with pytest.raises(HandlerError, match=f"the decoder {decoder} raised"):
        decode(b"\xff", InputForm("", decoder=decoder))


def test_a_worker_can_import_a_decoder() -> None:
    """So it is refused at the start if it is local to another function."""
    with pytest.raises(DeclarationError, match="define it at the top level of a module"):
        decoded_by(lambda body: body)
