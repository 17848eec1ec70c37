"""The settings of a run: one table, one loader."""
