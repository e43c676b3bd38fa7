"""What the controller must not forget: one interface, kept in one SQLite file or in PostgreSQL."""
