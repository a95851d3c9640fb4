"""The event loops that an engine can run on: asyncio and trio."""
