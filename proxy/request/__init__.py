"""One request: which arm serves it, what the client gets, and what becomes of the copy."""
