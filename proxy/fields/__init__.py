"""Fields of a request: the one that decides where it belongs, and those that an upstream is asked with instead."""
