"""What is done to workers: remote control, resize, consumers, drain."""
