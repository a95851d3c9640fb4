"""The engine's ends of its processes: sockets, shared memory, output."""
