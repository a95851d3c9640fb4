"""An app with generation loops, whose methods can get stuck."""

from __future__ import annotations

import time

from penstock import App, Done

app = App(__name__)


@app.endpoint("/loop", max_slots=2)
class Loop:
    """Three tokens for each job; or it is stuck where the job says."""

    def setup(self) -> None:
        self.jobs: dict[int, str] = {}
        self.left: dict[int, int] = {}

    def admit(self, slot: int, stuck: str = "") -> None:
        if stuck == "admit":
            self.sleep("admit")
        self.jobs[slot] = stuck
        self.left[slot] = 3

    def step(self, slots: list[int]) -> dict[int, int | Done]:
        if "step" in self.jobs.values():
            self.sleep("step")
        if "stubborn" in self.jobs.values():
            self.sleep_on()
        for slot in slots:
            self.left[slot] -= 1
        return {slot: left if (left := self.left[slot]) else Done(left) for slot in slots}

    def release(self, slot: int) -> None:
        del self.jobs[slot], self.left[slot]
        print(f"released {slot}", flush=True)

    def sleep(self, where: str) -> None:
        print(f"stuck in {where}", flush=True)
        time.sleep(60)

    def sleep_on(self) -> None:
        try:
            self.sleep("step")
        except BaseException:
            self.jobs = dict.fromkeys(self.jobs, "")
