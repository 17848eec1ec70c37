"""The decision. Pure: no I/O, no logger, no clock, no environment."""
