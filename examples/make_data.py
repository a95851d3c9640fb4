"""Generate all files in ``examples/data``: run ``python examples/make_data.py`` after changing this script.

The files are made only from this script and the font that ships with Pillow. They need no license of their own, and the
same versions produce the same bytes.
"""

from __future__ import annotations

import io
import json
import math
import struct
import time
import wave
import zipfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DATA = Path(__file__).resolve().parent / "data"
PAGE_SIZE = (1000, 720)
PAGE_LINES = (
    "A penstock is the gated pipe",
    "that feeds a turbine:",
    "it decides how much water goes in,",
    "and it can be shut.",
    "Every request has a deadline,",
    "and work that nobody waits for",  # english-ok: drawn on page.png
    "is stopped.",
)
RECEIPT_LINES = ("MILL CAFE", "2 coffee   5.60", "1 cake   3.90", "Total   9.50")

PYTHON_SOURCE = '''"""Water through a pipe."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pipe:
    """A round pipe; lengths in metres."""

    diameter: float

    def flow(self, speed: float) -> float:
        """Return the flow in cubic metres per second."""
        return 3.14159 * (self.diameter / 2) ** 2 * speed


if __name__ == "__main__":
    print(Pipe(diameter=1.2).flow(speed=4.0))
'''

HTML_SOURCE = """<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Turbine hall</title>
    <link rel="stylesheet" href="/style.css">
  </head>
  <body>
    <header><h1 id="top">Turbine hall</h1></header>
    <p class="lead">Two of the <em>three</em> turbines run.</p>
    <table>
      <tr><th>gate</th><th>opening</th></tr>
      <tr><td><a href="/north">north</a></td><td>40 %</td></tr>
      <tr><td><a href="/south">south</a></td><td>75 %</td></tr>
    </table>
    <div id="more"><a href="#top">back to the top</a></div>
  </body>
</html>
"""

SHELL_SOURCE = """#!/bin/sh
set -eu
for gate in north south; do
    if [ -e "/var/lib/gates/$gate" ]; then
        echo "$gate is open"
    fi
done
"""


def draw_lines(lines: tuple[str, ...], size: tuple[int, int], font_size: int) -> Image.Image:
    """Return a white picture with lines of black text, one below the other; sizes in pixels."""
    picture = Image.new("L", size, "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(font_size)
    step = size[1] / (len(lines) + 1)
    for number, line in enumerate(lines):
        draw.text((60, step * (number + 0.5)), line, fill="black", font=font)
    return picture


def as_file(picture: Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture as a file of the given format."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def csv_table() -> bytes:
    """Return a table of gate readings."""
    rows = ["time,gate,opening_percent,flow_m3_s"]
    rows += [f"2026-03-{day:02},{gate},{day * 3 % 100},{day * 1.25:.2f}" for day in range(1, 29) for gate in "NS"]
    return "\n".join(rows).encode() + b"\n"


def json_document() -> bytes:
    """Return a small configuration."""
    gates = [{"name": name, "open": True, "percent": 42.5} for name in ("north", "south", "spillway")]
    return json.dumps({"plant": "mill", "gates": gates}, indent=2).encode() + b"\n"


def zip_archive() -> bytes:
    """Return an archive of two text files, with a fixed date so that it is reproducible."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (("pipe.py", PYTHON_SOURCE), ("hall.html", HTML_SOURCE)):
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()


def wav_tone(seconds: float = 0.1, rate: int = 8000) -> bytes:
    """Return a tone of 440 Hz with 16 bits and one channel; ``rate`` is in samples per second."""
    samples = [int(12_000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(int(seconds * rate))]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as tone:
        tone.setnchannels(1)
        tone.setsampwidth(2)
        tone.setframerate(rate)
        tone.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return buffer.getvalue()


def make_files() -> dict[str, bytes]:
    """Return the content of every file by name."""
    page = draw_lines(PAGE_LINES, PAGE_SIZE, 44)
    receipt = draw_lines(RECEIPT_LINES, (600, 440), 40)
    date = time.gmtime(0)
    return {
        "page.png": as_file(page, "PNG", optimize=True),
        "receipt.png": as_file(receipt, "PNG", optimize=True),
        "blank.png": as_file(Image.new("L", (400, 300), "white"), "PNG", optimize=True),
        "receipt.jpg": as_file(receipt, "JPEG", quality=60),
        "receipt.gif": as_file(receipt, "GIF"),
        "receipt.pdf": as_file(receipt, "PDF", creationDate=date, modDate=date),
        "pipe.py": PYTHON_SOURCE.encode(),
        "hall.html": HTML_SOURCE.encode(),
        "gates.sh": SHELL_SOURCE.encode(),
        "table.csv": csv_table(),
        "gates.json": json_document(),
        "sources.zip": zip_archive(),
        "tone.wav": wav_tone(),
        "empty.bin": b"",
    }


def main() -> None:
    """Write all files."""
    DATA.mkdir(exist_ok=True)
    for name, content in make_files().items():
        (DATA / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
