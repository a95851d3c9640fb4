"""The processes of one engine: their sockets, their shared memory, their output."""
