"""Corpora: reading, fetching, checking, splitting by speaker, preparing for training."""
