"""Synthetic speech: engines that read words and strings of digits aloud."""
