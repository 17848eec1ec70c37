"""Redis: its URL, connections, the keys shared with others, the lease of the acting daemon."""
