"""Stand-ins for classes of libraries that the tests do not require.

They have the modules, names, bases and methods of the real ones, as measured with pandas 3.1, polars 2.1, pyarrow 26,
torch 2.13, scipy 1.17, xarray and matplotlib 3.11. The module of a class is all that tells it from another of its name.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

_T = TypeVar("_T")


def _of(module: str) -> Callable[[type[_T]], type[_T]]:
    """Return a decorator that moves a class into another module."""

    def move(cls: type[_T]) -> type[_T]:
        cls.__module__ = module
        return cls

    return move


# ---- pandas


@_of("pandas")
class RangeIndex:
    dtype = "int64"
    nlevels = 1
    is_unique = True


@_of("pandas")
class Index:
    nlevels = 1

    def __init__(self, *, missing: bool = False, unique: bool = True, levels: int = 1, dtype: Any = "object") -> None:
        self.dtype = dtype
        self._missing = missing
        self.is_unique = unique
        self.nlevels = levels

    def isna(self) -> Any:
        if self.nlevels > 1:
            raise NotImplementedError("isna is not defined for MultiIndex")
        return SimpleNamespace(any=lambda: self._missing)

    def tolist(self) -> list[Any]: ...


class _Table:
    def __init__(self, *, index: Any = None, missing: bool = False, levels: int = 1) -> None:
        self.index = index or RangeIndex()
        self.columns = SimpleNamespace(nlevels=levels)
        self._missing = missing


@_of("pandas")
class DataFrame(_Table):
    def isna(self) -> Any:
        def any_of(axis: int | None = 0) -> bool:
            assert axis is None  # otherwise it is a Series, and the truth of that is an error
            return self._missing

        return SimpleNamespace(any=any_of)


def categories_of(dtype: str) -> Any:
    return SimpleNamespace(categories=SimpleNamespace(dtype=dtype))


@_of("pandas")
class Series(_Table):
    def __init__(self, *, dtype: Any = "int64", **table: Any) -> None:
        super().__init__(**table)
        self.dtype = dtype

    def isna(self) -> Any:
        return SimpleNamespace(any=lambda: self._missing)

    def tolist(self) -> list[Any]: ...


@_of("pandas.api.typing")
class NAType: ...


@_of("pandas.api.typing")
class NaTType(dt.datetime):
    """A datetime that is equal to nothing, not even to itself."""

    year = month = day = math.nan  # type: ignore[assignment]
    __hash__ = dt.datetime.__hash__

    def __eq__(self, other: object) -> bool:
        return False

    def isoformat(self, *_: Any) -> str:
        return "NaT"


NaT = NaTType(1, 1, 1)


@_of("pandas")
class Timestamp(dt.datetime):
    nanosecond = 0

    def isoformat(self, *_: Any) -> str:
        text = super().isoformat()
        return f"{text}{self.nanosecond:03}" if self.nanosecond else text


@_of("pandas")
class Timedelta(dt.timedelta):
    nanoseconds = 0


def timedelta(nanoseconds: int) -> Timedelta:
    microseconds, rest = divmod(nanoseconds, 1000)
    made = Timedelta(microseconds=microseconds)
    made.nanoseconds = rest
    return made


# ---- torch


@_of("torch")
class Tensor:
    is_nested = False
    is_quantized = False

    def __init__(self, *, device: str = "cpu", layout: str = "torch.strided", is_complex: bool = False) -> None:
        self.device = SimpleNamespace(type=device)
        self.layout = layout
        self._is_complex = is_complex

    def is_complex(self) -> bool:
        return self._is_complex

    def tolist(self) -> list[float]: ...


@_of("torch.nn.parameter")
class Parameter(Tensor): ...


# ---- others


@_of("polars.dataframe.frame")
class PolarsFrame: ...


PolarsFrame.__name__ = "DataFrame"


@_of("pyarrow.lib")
class _Tabular: ...


@_of("pyarrow.lib")
class Table(_Tabular): ...


@_of("scipy.sparse._base")
class _spbase: ...  # noqa: N801 - its name


@_of("scipy.sparse._csr")
class csr_matrix(_spbase): ...  # noqa: N801 - its name


@_of("matplotlib.artist")
class Artist: ...


@_of("matplotlib.figure")
class FigureBase(Artist): ...


@_of("matplotlib.figure")
class Figure(FigureBase): ...


@_of("matplotlib.axes._axes")
class Axes(Artist): ...
