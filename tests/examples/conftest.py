"""Examples import each other by name, as programs in their folder may. The folder comes last, so it shadows nothing."""

from __future__ import annotations

import sys

from tests.serving import ROOT

sys.path.append(str(ROOT / "examples"))
