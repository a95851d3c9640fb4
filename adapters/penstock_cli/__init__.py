"""The command line, which puts the core, the Falcon adapter and the gunicorn adapter together."""
