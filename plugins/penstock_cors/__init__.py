"""CORS: pages from other origins may call the server, as far as the settings allow it."""

from penstock_cors.plugin import CorsPlugin

__all__ = ["CorsPlugin"]
