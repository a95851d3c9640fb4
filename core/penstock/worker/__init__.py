"""What runs in the children of an engine: the zygote that imports the app, and the workers that it forks."""
