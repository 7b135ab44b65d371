"""From genomes and measured tracks to the examples a model is trained on.

Knows sequences, targets and the files that hold them; knows no torch, no model and no Ray.
"""
