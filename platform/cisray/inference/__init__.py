"""A model applied to DNA: batches, devices, precision.

Knows torch, models and window geometry; knows nothing of rows, files or Ray.
"""
