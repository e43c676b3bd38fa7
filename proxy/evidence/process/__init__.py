"""How counts become evidence: bets, budgets, restarts, blocks, and the state that is kept."""
