"""``python -m penstock_cli``, the same as ``penstock``."""

from penstock_cli.main import main

main()
