"""What the controller must not forget, in one SQLite file."""
