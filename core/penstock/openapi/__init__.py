"""The OpenAPI document of an app: its endpoints with their schemas, errors, headers and credentials.

Everything here is a pure function of the app and its plug-ins. The document is built when it is first asked for.
"""

from penstock.openapi.documentation_routes import documentation_routes, openapi_document, schema_digest
from penstock.openapi.page_routes import PAGE_PATH

__all__ = ["PAGE_PATH", "documentation_routes", "openapi_document", "schema_digest"]
