"""The command line: one module for each command, and the only composer."""
