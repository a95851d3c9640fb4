"""Authentication: API keys from a file or the environment, and JSON Web Tokens."""

from penstock_auth.auth_settings import AuthSettings, JwtSettings
from penstock_auth.plugin import AuthPlugin

__all__ = ["AuthPlugin", "AuthSettings", "JwtSettings"]
