"""The command line: assembles the core, the Falcon adapter and the gunicorn adapter."""
