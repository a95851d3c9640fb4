"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run: a suite that is asked whether a change may go in must not answer by luck. To look for
# new ones, run a test with --hypothesis-profile=default.
settings.register_profile("suite", derandomize=True)
settings.load_profile("suite")
