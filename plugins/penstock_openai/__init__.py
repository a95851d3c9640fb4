"""OpenAI's protocol: clients that exist for it can use an app's endpoints as models.

The names in the first part of ``__all__`` are for ``endpoint(dialects=[...])``.
"""

from penstock_openai.model_offers import Chat
from penstock_openai.plugin import OpenAIPlugin

__all__ = [
    "Chat",
    "OpenAIPlugin",
]
