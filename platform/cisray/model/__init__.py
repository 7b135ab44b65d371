"""Sequence-to-function models as torch modules, and the files that their weights live in.

Knows torch and checkpoint formats; knows nothing of genomes, coordinates, runs or Ray.
"""
