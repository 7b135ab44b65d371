"""Basenji2 (Kelley 2020, PLOS Computational Biology 16:e1008050), the convolutional baseline.

Axis letters in this package: B batch, L bases, A alphabet ACGT, D width, K trunk tokens,
N target bins, T tracks.
"""
