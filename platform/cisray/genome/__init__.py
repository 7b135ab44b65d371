"""DNA: intervals, variants, windows, the reference sequence and its encoding; no torch, no Ray."""
