"""Documents, mail numbers, identities and grid queries. Pure: no I/O, no logger, no clock."""
