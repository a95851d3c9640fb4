"""The tests of Penstock. They mirror the source roots; what needs a real server stands in ``e2e`` and ``examples``."""
