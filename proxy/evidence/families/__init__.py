"""What guards share: how a rule counts, in which unit a limit is written, what it costs to pass."""
