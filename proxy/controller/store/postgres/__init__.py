"""What the controllers of a fleet must not forget, and which of them leads, in PostgreSQL."""
