from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from examples.make_data import DATA, make_files

PICTURES = {".png", ".jpg", ".gif"}


def test_the_data_are_what_the_script_makes() -> None:
    """The folder has exactly the files that the script generates."""
    assert sorted(path.name for path in DATA.iterdir()) == sorted(make_files())


@pytest.mark.parametrize("name", [name for name in make_files() if Path(name).suffix not in PICTURES | {".pdf"}])
def test_texts_and_archives_are_made_anew_byte_for_byte(name: str) -> None:
    """A file that does not depend on a picture library is reproduced byte for byte."""
    assert (DATA / name).read_bytes() == make_files()[name]


@pytest.mark.parametrize("name", [name for name in make_files() if Path(name).suffix in PICTURES])
def test_pictures_are_made_anew_dot_for_dot(name: str) -> None:
    """A picture is reproduced dot for dot; a later library may compress it differently."""
    shipped = Image.open(io.BytesIO((DATA / name).read_bytes())).convert("L")
    made = Image.open(io.BytesIO(make_files()[name])).convert("L")
    assert ImageChops.difference(shipped, made).getextrema()[1] <= 8
