"""Scores and labels in, metrics with their intervals out: the evaluations of the Enformer paper.

Knows tables and arrays, scikit-learn and scipy; knows neither torch nor Ray, nor where a run lies.
"""
