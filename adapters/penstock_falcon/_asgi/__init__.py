"""The ASGI side: the engine on the server's own event loop, and how requests are read, awaited and written there."""
