"""Anthropic's protocol: clients that exist for it can use an app's endpoints as models.

``Messages`` is for ``endpoint(dialects=[...])``.
"""

from penstock_anthropic.message_offers import Messages
from penstock_anthropic.plugin import AnthropicPlugin

__all__ = [
    "AnthropicPlugin",
    "Messages",
]
