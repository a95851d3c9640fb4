"""``python -m penstock_cli``, the same program as ``penstock``."""

import sys

if not sys.flags.safe_path:
    # The current folder, which Python has put first: its files must not replace modules that Penstock imports. They
    # become importable later, after the standard library.
    del sys.path[0]

from penstock_cli.main import main

main()
