"""The event loops of a worker: trio and asyncio."""
