"""The processes below an engine: the zygote, and a worker from its birth to its exit."""
