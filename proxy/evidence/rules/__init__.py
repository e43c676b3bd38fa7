"""The guards: one file for each, which `registry` finds; see CONTRIBUTING.md."""
