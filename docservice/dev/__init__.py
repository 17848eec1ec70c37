"""Sample documents and a load test, for the demo and the benchmarks."""
