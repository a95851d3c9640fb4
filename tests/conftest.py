"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: the result of the suite must depend on the change and not on luck. To look for new
# examples, run a test with --hypothesis-profile=default.
settings.register_profile("suite", derandomize=True)
settings.load_profile("suite")
