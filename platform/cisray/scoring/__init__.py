"""Model outputs to rows: what is scored, and what a row says.

Knows genomes, predictors and table schemas; knows nothing of Ray or of the command line.
"""
