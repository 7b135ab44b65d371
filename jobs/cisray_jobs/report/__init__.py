"""Reports of runs: one HTML file of any run, scored, trained or evaluated.

`write` tells the kinds apart and writes the file; `about` says what all scored runs have in common;
`genome`, `saturation`, `variants` and `training` lay out what is particular to theirs.
"""
