"""Workers that leak, grow, break, or are needed in another number."""

from __future__ import annotations

import os
import sys
import time

from penstock import App, Recycle, Timeouts

KEY = "Zt0k9d3xQ6mB8uV1yN5rT2wJ7pL4sC0aHfGeKiOb"

# Where the engine runs, and only there: a test cannot afford gigabytes.
if (recycling := sys.modules.get("penstock.scheduler.recycling")) is not None:
    recycling.MOST_OVER_BYTES = 1 << 20

app = App(__name__, settings={"shutdown": {"key": KEY}})
hoard: list[bytes] = []


@app.endpoint("/leak", pool="leaky")
def leak() -> int:
    hoard.append(os.urandom(1 << 20))
    time.sleep(0.02)  # from one measurement to the next it grows by less than its limit, so that it is not killed
    return os.getpid()


app.pool("leaky", workers=2, recycle=Recycle(memory="80MiB"))


@app.endpoint("/gulp", pool="greedy")
def gulp(mebibytes: int) -> int:
    hoard.append(b"\xff" * (mebibytes << 20))
    time.sleep(10.0)
    return os.getpid()


app.pool("greedy", recycle=Recycle(memory="80MiB"))


@app.endpoint("/spared")
class Spared:
    def setup(self) -> None:
        time.sleep(0.5)

    def predict(self) -> int:
        return os.getpid()


app.pool("spared", spares=1)


@app.endpoint("/fragile")
class Fragile:
    is_broken = False

    def check(self) -> bool:
        return not self.is_broken

    def predict(self, break_it: bool = False) -> int:
        self.is_broken = break_it
        return os.getpid()


app.pool("fragile", recycle=Recycle(check=0.2))


@app.endpoint("/suspect", pool="suspect", timeouts=Timeouts(execution=0.2))
def suspect(seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return os.getpid()


app.pool("suspect", recycle=Recycle(after_interrupt=True))


@app.endpoint("/elastic", workers=1)
def elastic(seconds: float = 0.05) -> int:
    time.sleep(seconds)
    return os.getpid()
