"""The loop: observe, decide, act, report."""
