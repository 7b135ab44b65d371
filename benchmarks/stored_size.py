"""What a stored value takes, by the mantissa bits that are kept: `cisray.store.encode` on one file.

Knows the encoder, a signal shaped like coverage (smooth along the genome, with rare peaks), and
effects as variants have them. Sizes depend on the spread of the values, by perhaps a tenth of a
byte; the ranking does not. `cisray.store.sizes` is what `--plan` says: it stands beside.
"""

import argparse

import numpy as np
import pyarrow as pa
from measuring import SEED, load_average, machine_facts, publish, table
from numpy.typing import NDArray

from cisray.store.encode import EFFECT_PAGES, TRACK_PAGES, Pages, encode_data, round_mantissa
from cisray.store.sizes import EFFECT_VALUES, TRACK_VALUES, ValueBytes

BINS = 57_344  # 64 tiles of Enformer: a full file
VARIANTS = 65_536  # a row group
# Of log2 |SAD| of a track over many variants, in the percentiles of a published Basenji run, by
# track 1.5 to 5.2, on average 2.9.
EFFECT_SPREAD = 2.9
BITS = (23, 16, 12, 10, 9, 8, 7, 4, 1)


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


def effect_like(tracks: int, rows: int = VARIANTS) -> NDArray[np.float32]:
    """Draw effects of either sign whose sizes spread over many powers of two, shape (T, rows)."""
    generator = np.random.default_rng(SEED)
    sizes = np.exp2(generator.normal(scale=EFFECT_SPREAD, size=(tracks, rows)))
    signs = generator.choice((-1.0, 1.0), (tracks, rows))
    return (sizes * signs).astype(np.float32)


def bytes_per_value(values_TN: NDArray[np.float32], bits: int, pages: Pages) -> float:
    """Encode all columns as one file and divide its size, footer included, by its values."""
    columns = {
        f"t{track:04d}": pa.array(round_mantissa(column, bits))
        for track, column in enumerate(values_TN)
    }
    return len(encode_data(pa.table(columns), pages, {})) / values_TN.size


def measured(
    values_TN: NDArray[np.float32], pages: Pages, model: ValueBytes
) -> tuple[str, dict[int, float]]:
    """Measure values at every number of bits; a table with what `--plan` says, and the sizes."""
    sizes = {bits: bytes_per_value(values_TN, bits, pages) for bits in BITS}
    rows = [("mantissa bits", "bytes a value", "share of exact", "what --plan says")]
    count = np.array([values_TN.shape[1]])
    for bits, size in sizes.items():
        told = model.column_bytes(count, bits)[0] / count[0]
        rows.append((str(bits), f"{size:.3f}", f"{size / sizes[23]:.2f}", f"{told:.3f}"))
    return table(rows), sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=64)
    tracks = parser.parse_args().tracks
    begun = load_average()
    bins, of_bins = measured(coverage_like(tracks), TRACK_PAGES, TRACK_VALUES)
    effects, of_effects = measured(effect_like(tracks), EFFECT_PAGES, EFFECT_VALUES)
    facts = {
        "bytes_per_value": {"tracks": of_bins, "effects": of_effects},
        "tracks": tracks,
        "machine": machine_facts(threads=1),
        "load_average": [begun, load_average()],
    }
    text = f"One file of {BINS:,} bins x {tracks} tracks:\n\n{bins}\n\n"
    text += f"One file of {VARIANTS:,} effects x {tracks} columns:\n\n{effects}"
    publish("stored_size", text, facts, keep=True)


if __name__ == "__main__":
    main()
