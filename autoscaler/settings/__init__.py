"""The settings of a command: one table, one loader, and the parsers of single values."""
