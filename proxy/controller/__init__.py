"""The controller process: pairs in, decisions out, and everything that a person or a receiver is told."""
