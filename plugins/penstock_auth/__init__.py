"""Who calls, and whether they may: API keys from a file or the environment, and JSON Web Tokens."""

from penstock_auth.plugin import AuthPlugin
from penstock_auth.settings import AuthSettings, JwtSettings

__all__ = ["AuthPlugin", "AuthSettings", "JwtSettings"]
