"""What a stored value takes, by the mantissa bits that are kept: `cisray.store.encode` on one file.

Knows the encoder and a signal shaped like coverage: smooth along the genome, with rare peaks.
Sizes depend on the spread of the values, by perhaps a tenth of a byte; the ranking does not.
"""

import argparse

import numpy as np
import pyarrow as pa
from measuring import SEED, load_average, machine_facts, publish, table
from numpy.typing import NDArray

from cisray.store.encode import TRACK_PAGES, encode_data, round_mantissa
from cisray_jobs.plan import stored_bytes
from cisray_schemas.genome_tracks import GENOME_TRACKS

BINS = 57_344  # 64 tiles of Enformer: a full file
BIN_BP = 128
BITS = (23, 12, 10, 8, 7)


def coverage_like(tracks: int) -> NDArray[np.float32]:
    """Draw softplus of a slow autoregressive walk with occasional peaks, shape (T, N)."""
    generator = np.random.default_rng(SEED)
    noise = generator.normal(size=(tracks, BINS)).astype(np.float32)
    walk = np.empty_like(noise)
    walk[:, 0] = noise[:, 0]
    for i in range(1, BINS):
        walk[:, i] = 0.97 * walk[:, i - 1] + 0.24 * noise[:, i]
    peaks = (generator.random((tracks, BINS)) < 1 / 200) * generator.lognormal(1, 1, (tracks, BINS))
    signal: NDArray[np.float32] = np.logaddexp(0, walk - 3 + peaks).astype(np.float32)
    return signal


def bytes_per_value(values_TN: NDArray[np.float32], bits: int) -> float:
    """Encode all columns as one file and divide its size, footer included, by its values."""
    names = [f"t{track:04d}" for track in range(len(values_TN))]
    start = pa.array(np.arange(BINS, dtype=np.int32) * BIN_BP)
    columns = [pa.array(round_mantissa(column, bits)) for column in values_TN]
    file = pa.Table.from_arrays([start, *columns], schema=GENOME_TRACKS.with_values(names))
    return len(encode_data(file, TRACK_PAGES, {})) / values_TN.size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=64)
    tracks = parser.parse_args().tracks
    begun = load_average()
    values_TN = coverage_like(tracks)
    exact = bytes_per_value(values_TN, BITS[0])
    sizes = {bits: bytes_per_value(values_TN, bits) for bits in BITS}
    rows = [("mantissa bits", "bytes a value", "share of exact", "what --plan says")]
    rows += [
        (str(bits), f"{size:.3f}", f"{size / exact:.2f}", f"{stored_bytes(10**6, bits) / 1e6:.3f}")
        for bits, size in sizes.items()
    ]
    facts = {
        "bytes_per_value": sizes,
        "tracks": tracks,
        "machine": machine_facts(threads=1),
        "load_average": [begun, load_average()],
    }
    text = f"One file of {BINS:,} bins x {tracks} tracks:\n\n{table(rows)}"
    publish("stored_size", text, facts, keep=True)


if __name__ == "__main__":
    main()
