"""What counts against a guard: one file for a rule."""
