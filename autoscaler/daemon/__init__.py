"""The daemon: observe, decide, act and report, one tick after another."""
