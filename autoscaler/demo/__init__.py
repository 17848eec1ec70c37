"""Real servers, workers and a daemon to watch."""
