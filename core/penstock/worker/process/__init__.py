"""The child processes themselves: the zygote, and a worker from start to exit."""
