"""Small SVG plots, written by hand: bars on a linear scale, and lines over a logarithmic one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

COLOURS = ("#0b6e4f", "#8a8a8a", "#c1440e", "#3a6ea5", "#b8860b", "#7d3c98", "#1a8fa3")
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}.a{stroke:#bbb}.e{text-anchor:end}.m{text-anchor:middle}"
)


def _document(width: int, height: int, parts: Sequence[str]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, classes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}">{escape(text)}</text>'


def _step(most: float) -> float:
    """Return a round distance between four to ten ticks of an axis that ends at ``most``."""
    rough = most / 4
    power: float = 10 ** math.floor(math.log10(rough))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= rough)


def bars(title: str, values: Mapping[str, float | None], form: str = "{:,.0f}") -> str:
    """Return a plot with a horizontal bar for each name; a name without a value has none."""
    known = [value for value in values.values() if value is not None]
    most = max(known, default=1.0) or 1.0
    parts = [_text(10, 20, title, "t")]
    for number, (name, value) in enumerate(values.items()):
        y = 36 + 24 * number
        parts.append(_text(110, y + 13, name, "e"))
        length = 420 * (value or 0.0) / most
        parts.append(
            f'<rect x="118" y="{y}" width="{length:.1f}" height="17" fill="{COLOURS[number % len(COLOURS)]}"/>'
        )
        parts.append(_text(124 + length, y + 13, form.format(value) if value is not None else "none"))
    return _document(640, 46 + 24 * len(values), parts)


def lines(title: str, below: str, xs: Sequence[float], series: Mapping[str, Sequence[float | None]]) -> str:
    """Return a plot with a line for each name over a logarithmic axis, from 0 to the highest value."""
    known = [value for values in series.values() for value in values if value is not None]
    step = _step(max(known, default=1.0) or 1.0)
    ticks = math.ceil(max(known, default=1.0) / step)
    most = step * ticks
    left, top, width, height = 50, 36, 420, 220

    def x_of(x: float) -> float:
        return left + width * math.log(x / xs[0]) / math.log(xs[-1] / xs[0])

    def y_of(y: float) -> float:
        return top + height * (1 - y / most)

    parts = [_text(10, 20, title, "t"), _text(left + width / 2, top + height + 38, below, "m")]
    for tick in range(ticks + 1):
        y = y_of(step * tick)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + width}" y2="{y:.1f}" class="a"/>')
        parts.append(_text(left - 6, y + 4, f"{step * tick:g}", "e"))
    parts += [_text(x_of(x), top + height + 18, f"{x:g} x", "m") for x in xs]
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x_of(x), y_of(y)) for x, y in zip(xs, values, strict=True) if y is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        y = top + 10 + 20 * number
        parts.append(f'<rect x="{left + width + 20}" y="{y - 9}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(left + width + 38, y + 2, name))
    return _document(640, top + height + 52, parts)
