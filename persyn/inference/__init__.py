"""Models as a worker meets them: references resolved to folders, servers that it starts, endpoints that it asks."""
