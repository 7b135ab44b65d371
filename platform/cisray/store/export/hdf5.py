"""HDF5 of scores in the layout of the published Enformer scores of the 1000 Genomes variants.

Knows the layout and h5py; knows nothing of runs. The published files have `snp`, `chr`, `pos`
(1-based), `ref`, `alt`, `target_ids`, `target_labels`, and one array variants x targets per
statistic. Basenji's own scripts name the alleles `ref_allele` and `alt_allele`: those are links
to the same data here. `entry` (number of the entry in the input), `target_indices` (index in the
head) and the columns of sites are cisray's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import polars as pl

from cisray.errors import ConfigError, StorageError
from cisray.store.export.columns import Scores, meaning_of

CHUNK_ROWS = 256
CHUNK_TARGETS = 1024  # with float32 a chunk is 1 MiB, the size of HDF5's cache
CHUNK_LINES = 1 << 14
_TEXTS = {"snp": "id", "chr": "chrom", "ref": "ref", "alt": "alt", "site_name": "site_name"}
_NUMBERS: Mapping[str, tuple[str, npt.DTypeLike]] = {
    "pos": ("pos", np.uint32),
    "entry": ("variant", np.int64),
    "site": ("site", np.int32),
    "site_start": ("site_start", np.int32),
    "site_end": ("site_end", np.int32),
}
_LINKS = {"ref_allele": "ref", "alt_allele": "alt"}
_COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
FLOAT16_MAX = 65_504


def write_hdf5(scores: Scores, path: Path, *, float16: bool = False, sar: str | None = None) -> int:
    """Write one file and return the number of rows: variants, or a variant at each of its sites.

    Each statistic lies under cisray's name for it, float32, or float16 as published. `sar` is the
    statistic that the name SAR is to mean, as a link: the name has meant two. Without rows every
    dataset is there, with a length of 0.

    Raises ConfigError when float16 cannot hold some values, or `sar` is not among the statistics;
    StorageError when the disk refuses.
    """
    if sar is not None:
        scores.by_track(sar)
    try:
        rows, lost = _write(scores, path, float16=float16, sar=sar)
    except RuntimeError as error:
        # h5py's word for a disk that refuses what is written on closing.
        raise StorageError(f"the HDF5 file {path.name} could not be written: {error}.") from error
    _refuse_losses(lost)
    return rows


def _write(
    scores: Scores, path: Path, *, float16: bool, sar: str | None
) -> tuple[int, dict[str, int]]:
    rows = scores.count()
    with h5py.File(path, "w") as file:
        file.attrs.update(scores.provenance)
        _write_targets(file, scores)
        _make_variants(file, scores, rows)
        values = {stat: scores.by_track(stat) for stat in scores.stats}
        for stat, columns in values.items():
            _make_values(file, stat, (rows, len(columns)), float16=float16)
        lost = _fill(file, scores, values)
        for name, target in (_LINKS | ({"SAR": sar} if sar else {})).items():
            file[name] = h5py.SoftLink(f"/{target}")
    return rows, lost


def _write_targets(file: h5py.File, scores: Scores) -> None:
    identifiers, labels = zip(*scores.labels.values(), strict=True)
    for name, texts in (("target_ids", identifiers), ("target_labels", labels)):
        file[name] = _bytes_of(texts)
    indices = np.array(list(scores.labels), np.int32)
    file.create_dataset("target_indices", data=indices)


def _bytes_of(texts: Any) -> npt.NDArray[np.bytes_]:
    """Encode texts as UTF-8 of one width, the `S` of the published files."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, dtype=f"S{max(1, *map(len, encoded))}")


def _make_variants(file: h5py.File, scores: Scores, rows: int) -> None:
    texts = _text_columns(scores)
    widths = scores.frame.select(
        expression.str.len_bytes().max().fill_null(1).alias(name)
        for name, expression in texts.items()
    ).collect()
    for name in texts:
        _create(file, name, (rows,), np.dtype(f"S{max(1, widths[name][0])}"))
    for name, (_, kind) in _numbers(scores).items():
        _create(file, name, (rows,), np.dtype(kind))


def _numbers(scores: Scores) -> dict[str, tuple[str, npt.DTypeLike]]:
    return {name: told for name, told in _NUMBERS.items() if told[0] in scores.names}


def _text_columns(scores: Scores) -> dict[str, pl.Expr]:
    """Give the texts of the published layout; a variant without id has `.`, as in VCF."""
    columns = {
        name: pl.col(column).cast(pl.String)
        for name, column in _TEXTS.items()
        if column in scores.names
    }
    nameless = pl.repeat(".", pl.len())
    columns["snp"] = columns.get("snp", nameless).replace("", None).fill_null(".")
    return columns


def _make_values(file: h5py.File, stat: str, shape: tuple[int, int], *, float16: bool) -> None:
    data = _create(file, stat, shape, np.dtype(np.float16 if float16 else np.float32))
    meaning = meaning_of(stat)
    data.attrs.update({"meaning": meaning.text, "unit": meaning.unit})


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> h5py.Dataset:
    """Make a dataset in chunks that serve a variant's row and a target's column alike.

    One without rows has none: HDF5 takes no chunk that is larger than its dataset.
    """
    if 0 in shape:
        return file.create_dataset(name, shape, dtype)
    limits = (CHUNK_ROWS, CHUNK_TARGETS) if len(shape) > 1 else (CHUNK_LINES,)
    chunk = tuple(min(size, most) for size, most in zip(shape, limits, strict=True))
    return file.create_dataset(name, shape, dtype, chunks=chunk, **_COMPRESSION)


def _fill(file: h5py.File, scores: Scores, values: Mapping[str, list[str]]) -> dict[str, int]:
    """Write all rows, piece by piece; count per statistic what its type cannot hold."""
    lost = dict.fromkeys(values, 0)
    texts = _text_columns(scores)
    first = 0
    for rows in scores.slices(CHUNK_ROWS):
        place = slice(first, first + rows.height)
        for name, expression in texts.items():
            file[name][place] = [t.encode() for t in rows.select(expression).to_series()]
        for name, (column, _) in _numbers(scores).items():
            file[name][place] = rows[column].to_numpy()
        for stat, columns in values.items():
            given = rows.select(columns).to_numpy()
            with np.errstate(over="ignore"):
                stored = given.astype(file[stat].dtype)
            lost[stat] += _count_lost(given, stored)
            file[stat][place] = stored
        first = place.stop
    return lost


def _count_lost(given: npt.NDArray[Any], stored: npt.NDArray[Any]) -> int:
    """Count values that became infinite or zero."""
    infinite = np.isfinite(given) & np.isinf(stored)
    zero = (given != 0) & (stored == 0)
    return int(np.count_nonzero(infinite | zero))


def _refuse_losses(lost: Mapping[str, int]) -> None:
    bad = {stat: count for stat, count in lost.items() if count}
    if bad:
        told = ", ".join(f"{count:,} of {stat}" for stat, count in bad.items())
        raise ConfigError(
            f"float16 holds 6e-8 to {FLOAT16_MAX:,}, and some values would become infinite or "
            f"zero: {told}. Leave out --float16, or choose other --stats or --tracks."
        )
