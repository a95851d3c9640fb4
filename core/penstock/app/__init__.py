"""A user's declarations: an app, its endpoints, and the worker pools that these imply."""

from penstock.app.app import DEFAULT_POOL, App
from penstock.app.dialect_offers import DialectOffer
from penstock.app.endpoints import Endpoint, Pool
from penstock.app.schedules import Schedule

__all__ = ["DEFAULT_POOL", "App", "DialectOffer", "Endpoint", "Pool", "Schedule"]
