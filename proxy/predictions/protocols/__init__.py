"""The protocols: one file for each, which `predictions.registry` finds; see CONTRIBUTING.md."""
