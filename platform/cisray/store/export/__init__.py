"""Runs in the files of other programs: bigWig, bedGraph, VCF, HDF5, and figures.

Knows Polars frames with the columns of a run, and file formats; knows nothing of FASTA files,
models, torch or Ray. Each writer takes a frame and a few facts, and writes files that `staging`
then moves to their names, whole or not at all. Importing this package loads no library.
"""
