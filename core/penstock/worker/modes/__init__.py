"""The ways to run an attempt: inline, as a task, or in a thread."""
