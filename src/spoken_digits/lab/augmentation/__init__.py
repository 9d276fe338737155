"""Augmentation of waveforms and of spectrograms, and the policies made of both."""
