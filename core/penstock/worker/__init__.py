"""The child processes of an engine: the zygote, which imports the app, and the workers forked from it."""
