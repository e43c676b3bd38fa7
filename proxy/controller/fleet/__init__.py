"""Replicas that share one store make one decision: one of them leads, the others pass their workers' links on to it."""
