"""Example values for a JSON Schema: short, and likely to be valid. Code that needs a valid one must check it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

# Deeper parts of a schema that refers to itself are left out.
_MAX_DEPTH: Final = 12
_TEXTS: Final = ("text", "2026-01-31T12:00:00Z", "12:00:00")
_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT1S",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "decimal": "1.5",
}


def examples_of(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield examples of a body with this schema, the best first: of an object, the properties that are required.

    They differ in their text: the schema of a datetime, for one, does not say that it is more than a string.
    """
    for text in _TEXTS:
        yield _Examples(schema.get("$defs", {}), text).of(schema)


class _Examples:
    """Examples for the parts of one schema, with this text for strings without a format."""

    def __init__(self, definitions: Mapping[str, Any], text: str) -> None:
        self._definitions = definitions
        self._plain_text = text

    def of(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            return None
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2].replace("~1", "/").replace("~0", "~")
            return self.of(self._definitions.get(name, {}), depth + 1)
        for given in ("examples", "enum"):
            if schema.get(given):
                return schema[given][0]
        for given in ("const", "default"):
            if given in schema:
                return schema[given]
        for choice in ("anyOf", "oneOf", "allOf"):
            if schema.get(choice):
                parts = sorted(schema[choice], key=lambda part: part.get("type") == "null")
                return self.of(parts[0], depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((name for name in kind if name != "null"), "null")
        if kind == "object":
            properties, required = schema.get("properties", {}), schema.get("required", ())
            return {name: self.of(properties.get(name, {}), depth + 1) for name in required}
        if kind == "array":
            return self._array(schema, depth)
        if kind in {"number", "integer"}:
            return _number(schema, is_whole=kind == "integer")
        return {"boolean": True, "null": None}.get(str(kind), self._text(schema))

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = [self.of(part, depth + 1) for part in schema.get("prefixItems", ())]
        others = schema.get("items", True)
        if others is False or depth >= _MAX_DEPTH:
            return first
        wanted = max(schema.get("minItems", 0), min(1, schema.get("maxItems", 1))) - len(first)
        return first + [self.of(others if isinstance(others, dict) else {}, depth + 1)] * wanted

    def _text(self, schema: Mapping[str, Any]) -> str:
        if schema.get("contentEncoding") == "base64" or "contentMediaType" in schema:
            return "AAAA"
        text = _FORMATS.get(schema.get("format", ""), self._plain_text)
        size = int(max(schema.get("minLength", 0), min(schema.get("maxLength", len(text)), len(text))))
        return (text * (size // len(text) + 1))[:size]


def _number(schema: Mapping[str, Any], *, is_whole: bool) -> float:
    lowest = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
    highest = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
    step = schema.get("multipleOf")
    candidates: list[float] = [3, 1, 0]
    if step:
        start = 0 if lowest == -math.inf else math.ceil(lowest / step)
        candidates = [place * step for place in (start, start + 1)]
    elif math.isfinite(lowest) and math.isfinite(highest):
        candidates += [(lowest + highest) // 2 if is_whole else (lowest + highest) / 2, lowest, highest]
    else:
        candidates += [limit + shift for limit in (lowest, highest) if math.isfinite(limit) for shift in (0, 1, -1)]
    for number in candidates:
        above = lowest < number if "exclusiveMinimum" in schema else lowest <= number
        below = number < highest if "exclusiveMaximum" in schema else number <= highest
        if above and below:
            return number
    return candidates[0]
