"""Types that msgspec does not know and handlers may take all the same: uploads, tensors, what pydantic validates."""

from __future__ import annotations

from typing import Any

from penstock.codec import pydantic_types
from penstock.codec.tensor_types import is_tensor
from penstock.codec.uploads import Upload, upload_of


def is_known(custom: Any) -> bool:
    """Return whether values of a class that msgspec does not know can be read."""
    is_pydantics = pydantic_types.is_pydantic(custom) or pydantic_types.is_adapted(custom)
    return custom is Upload or is_tensor(custom) or is_pydantics


def read_custom(cls: Any, value: Any) -> Any:
    """Return a decoded value as its class reads it. This is msgspec's ``dec_hook``."""
    if is_tensor(cls):
        return cls.tensor.read(value)
    return upload_of(value) if cls is Upload else pydantic_types.validate(cls, value)
