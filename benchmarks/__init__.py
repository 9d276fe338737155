"""How fast it is, against its peers: `python -m benchmarks`, or `make bench`."""
