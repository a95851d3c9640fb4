"""The ways to run an attempt: inline, as a task, in a thread, or in a generation loop."""
