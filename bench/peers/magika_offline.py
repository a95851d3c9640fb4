"""Magika in a loop, without a server: ``python magika_offline.py FILE SECONDS`` prints the files per second."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from magika import Magika

content = Path(sys.argv[1]).read_bytes()
magika = Magika()
for _ in range(20):
    magika.identify_bytes(content)
begin, done = time.perf_counter(), 0
end = begin + float(sys.argv[2])
while time.perf_counter() < end:
    magika.identify_bytes(content)
    done += 1
print(done / (time.perf_counter() - begin))
