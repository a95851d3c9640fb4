"""How the bodies of one endpoint are read, its results written, and what their JSON Schema is."""
