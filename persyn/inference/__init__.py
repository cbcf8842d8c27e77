"""Models as a worker meets them: resolved references, supervised servers, and one client for every teacher."""
