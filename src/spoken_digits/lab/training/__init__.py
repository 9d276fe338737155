"""Training of networks for single digits: supervised and contrastive."""
