"""The loops of a worker: trio and asyncio."""
