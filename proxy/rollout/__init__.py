"""Rollouts: the machine that decides, what it needs to climb, and how it is kept. Pure."""
