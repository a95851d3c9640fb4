"""The settings for ``gunicorn -c python:penstock_gunicorn.conf module:app -w 2``: a hook, which serves the app.

Like the command line, this module puts the adapters together, so it is the one in this package that may use them.
"""

from penstock_cli.gunicorn_entry import take_over as on_starting

__all__ = ["on_starting"]
