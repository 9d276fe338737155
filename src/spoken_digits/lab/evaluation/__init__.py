"""Evaluation: metrics, rejection, embeddings, and exported models."""
