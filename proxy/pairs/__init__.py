"""Pairs: from a worker to the controller, into a recording, and through the ledger that accounts for each."""
