"""The Model Context Protocol: agents, and the programs in which people talk to models, use endpoints as tools.

``Tool`` is for ``endpoint(dialects=[...])``.
"""

from penstock_mcp.plugin import McpPlugin
from penstock_mcp.tool_offers import ToolOffer as Tool

__all__ = [
    "McpPlugin",
    "Tool",
]
