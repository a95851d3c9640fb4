"""What a user declares: an app, its endpoints, and the pools of workers that follow from them."""

from penstock.app.app import DEFAULT_POOL, App
from penstock.app.endpoints import Endpoint, Pool

__all__ = ["DEFAULT_POOL", "App", "Endpoint", "Pool"]
