"""The WSGI side: the engine on a thread of its own, and how the server's threads read, wait and write."""
