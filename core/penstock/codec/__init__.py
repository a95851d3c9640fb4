"""The codec of an endpoint: reading its bodies, writing its results, and the JSON Schema of both."""
