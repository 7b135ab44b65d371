"""Enformer (Avsec et al. 2021, Nature Methods 18:1196), as DeepMind released it.

Axis letters in this package: B batch, L bases, A alphabet ACGT, D width, K trunk tokens,
N target bins, T tracks, H attention heads, F positional features.
"""
