"""An endpoint of every kind, for the OpenAPI document.

The second paragraph of a module.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import pydantic

from penstock import App, Batching, Context, Response, Upload

app = App(__name__, title="The zoo", version="1.2")


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Animal(msgspec.Struct):
    """An animal."""

    name: Annotated[str, msgspec.Meta(max_length=20)]
    legs: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 4
    colour: Colour = Colour.RED


class Herd(msgspec.Struct):
    leader: Animal
    animals: list[Animal] = []
    inner: Herd | None = None


@dataclasses.dataclass
class Box:
    width: int
    corner: Animal | None = None


class Options(TypedDict):
    depth: Annotated[int, msgspec.Meta(ge=0, le=10)]
    title: NotRequired[str]


class Visitor(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=30)
    age: int = pydantic.Field(ge=0, le=150)
    guests: list[Visitor] = []


@app.endpoint("/square")
def square(input: Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]) -> float:
    """Square a number.

    It is multiplied by itself.
    """
    return input**2


@app.endpoint("/fields")
def fields(
    animals: list[Animal],
    how: Literal["quick", "slow"] = "quick",
    day: datetime.date | None = None,
    limits: tuple[int, int] = (0, 1),
    scores: dict[str, float] | None = None,
    *,
    labels: frozenset[str] = frozenset({"a", "b", "c", "d"}),
) -> dict[str, int]:
    return {"animals": len(animals)}


@app.endpoint("/herd")
def herd(herd: Herd) -> Herd:
    """Return the herd."""
    return herd


@app.endpoint("/box", name="pack/box")
def box(box: Box) -> Box:
    return box


@app.endpoint("/options")
async def options(options: Options, context: Context) -> Options:
    return options


@app.endpoint("/visitor")
def visitor(visitor: Visitor) -> Visitor:
    return visitor


@app.endpoint("/positive")
def positive(number: Annotated[int, pydantic.Field(gt=0, lt=100)]) -> int:
    return number


@app.endpoint("/raw")
def raw(body: bytes) -> bytes:
    return body


@app.endpoint("/maybe-raw")
def maybe_raw(is_raw: bool = True) -> bytes | None:
    return b"raw" if is_raw else None


@app.endpoint("/short-raw")
def short_raw() -> Annotated[bytes, msgspec.Meta(max_length=10)]:
    return b"raw"


@app.endpoint("/anything")
def anything(value: Any = None) -> Any:
    return {"value": value}


@app.endpoint("/nothing")
def nothing() -> None:
    return None


@app.endpoint("/lengths", batching=Batching(max_size=4))
def lengths(text: list[str]) -> list[int]:
    return [len(each) for each in text]


@app.endpoint("/sums", batching=Batching(max_size=4))
def sums(left: list[int], right: list[int]) -> list[int]:
    return [one + other for one, other in zip(left, right, strict=True)]


@app.endpoint("/count")
def count(n: Annotated[int, msgspec.Meta(ge=0, le=5)]) -> Iterator[Animal]:
    """Count animals."""
    for number in range(n):
        yield Animal(name=f"animal {number}")


@app.endpoint("/tone", media_type="audio/wav")
async def tone() -> AsyncIterator[bytes]:
    yield b"RIFF"


@app.endpoint("/csv", media_type="text/csv; charset=utf-8")
def csv(rows: Annotated[int, msgspec.Meta(ge=0, le=5)] = 1) -> str:
    return "a,b\n" * rows


@app.endpoint("/free")
def free(status: Literal[200, 201, 404] = 200) -> Response:
    return Response("free", status=status)


@app.endpoint("/cages/{cage}/animals/{name}", method="GET", name="look")
def look(
    cage: int,
    name: str,
    *,
    tags: list[str] | None = None,
    deep: bool = False,
    options: Options | None = None,
    weight: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 1.0,
) -> Animal:
    """Look at an animal."""
    return Animal(name=name[:20])


@app.endpoint("/cages/{cage}/animals/{name}", name="feed")
def feed(cage: int, name: str, meals: list[str], options: Options | None = None) -> int:
    return len(meals)


@app.endpoint("/photo/{cage}", name="photo")
def photo(cage: Colour, picture: Upload, others: list[Upload] = [], label: str = "", frame: Box | None = None) -> int:  # noqa: B006 - it is copied
    return picture.size


@app.endpoint("/model")
class Model:
    """A class with a docstring."""

    def setup(self) -> None:
        self.factor = 2

    def predict(self, input: Annotated[int, msgspec.Meta(ge=0, le=1000)]) -> int:
        return self.factor * input


@app.endpoint("/plain-model")
class PlainModel:
    def predict(self, input: int) -> int:
        """The docstring of a method."""
        return input


@app.endpoint("/{zoo}/open/now", name="open-zoo")
def open_zoo(zoo: str) -> Response | None:
    return None if zoo == "old" else Response(b"", status=204)
