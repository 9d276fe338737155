"""Strings of digits: their synthesis, the network that transcribes them, its training."""
