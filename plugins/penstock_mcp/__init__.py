"""The Model Context Protocol: agents, and the programs that people talk to models with, use an app's endpoints as tools.

``Tool`` is for ``endpoint(dialects=[...])``.
"""

from penstock_mcp.plugin import McpPlugin
from penstock_mcp.tool_offers import Tool

__all__ = [
    "McpPlugin",
    "Tool",
]
