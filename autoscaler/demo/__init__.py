"""Real servers, workers and a daemon to watch: ``play`` is the script, ``services`` what runs in it."""
