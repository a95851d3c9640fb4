"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run: the result of the suite must depend on the change and not on luck. To look for new
# examples, run a test with --hypothesis-profile=default.
settings.register_profile("suite", derandomize=True)
settings.load_profile("suite")
