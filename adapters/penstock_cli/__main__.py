"""``python -m penstock_cli``, the same program as ``penstock``."""

from penstock_cli.main import main

main()
