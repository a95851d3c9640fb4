"""The page of the benchmarks is generated from the results, so no figure of it can go stale."""

from __future__ import annotations

import subprocess
import sys

from tests.serving import ROOT


def test_the_page_is_what_the_results_say() -> None:
    """``python bench/report.py`` changes nothing."""
    command = [sys.executable, str(ROOT / "bench" / "report.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_every_peer_is_pinned() -> None:
    """Each file of packages in ``bench/peers`` has exact versions only, and a program beside it."""
    for pins in sorted((ROOT / "bench" / "peers").glob("*.txt")):
        lines = [line for line in pins.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
        assert [line for line in lines if line.count("==") != 1] == []
        assert pins.with_name(f"{pins.stem}_app.py").exists()
