"""Queries of finished runs, by cisray and by plain Polars and DuckDB on the same files.

Knows runs and three ways to read them. The values are made up and written through `ShardSink`, as a
job would: one shard of a head's tracks, repeated along a chromosome; variants with made-up scores.
Questions are asked warm, in turns by all three, and must have the same answer; cisray has opened
the run before unless the row says otherwise, the others list a folder every time. Also told: bytes
a value, and how much float32 a core takes into a run, beside what a GPU makes by the newest result
of `gpu_engine`.

    python benchmarks/query_run.py [--tracks 5313] [--shards 7] [--variants 1000000] [--keep]

The whole takes 4 GB of disk in a temporary folder, or in --folder, for some minutes.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from made_up_runs import (
    BIN_BP,
    Values,
    manifest_of,
    plan_bins,
    plan_variants,
    snvs,
    write_bins,
    write_variants,
)
from measuring import RESULTS, SEED, load_average, machine_facts, publish, table
from stored_size import coverage_like

from cisray.store.layout import assign_blocks
from cisray.store.rows import Piece
from cisray.store.run import ShardSink
from cisray.store.scan import Run, open_run
from cisray.tracks import TrackSet
from cisray_schemas.genome_tracks import GENOME_TRACKS

SHARD_BINS = 57_344  # 64 tiles of Enformer
TILE_VALUES = 896 * 5_313
PATTERNS = 32
GENE = ("chr1", 20_000_000, 20_100_000)
ENGINES = ("cisray", "polars", "duckdb")
REPEATS = 7
TOP = 1_000
TOP_OF_EACH = 100
JOINED = 5_000
MANY_FILES = 1_000
MANY_BINS = 64
EFFECT_TRACKS = 64
GPU_TILES = {
    "bfloat16": "tile, fast, bfloat16, batches of 16",
    "float32": "tile, fast, float32, batches of 16",
}
Query = Callable[[], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Case:
    """One question, and how each engine is asked it; frames come back equal."""

    name: str
    asked: dict[str, Query]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one question by engine, and the rows and columns of the answer."""

    name: str
    shape: tuple[int, int]
    wall_s: dict[str, list[float]]
    cpu_s: dict[str, list[float]]

    def milliseconds(self, engine: str) -> tuple[float, float]:
        """Tell the medians of an engine, by the clock and of the processor."""
        return 1e3 * median(self.wall_s[engine]), 1e3 * median(self.cpu_s[engine])


@dataclass(frozen=True, slots=True)
class Written:
    """What a run takes, and what it took to write it."""

    name: str
    values: int
    stored_bytes: int
    wall_s: float
    cpu_s: float

    @property
    def megabytes(self) -> float:
        """Of float32."""
        return 4 * self.values / 1e6


# --- Runs


def head_values(tracks: int) -> Values:
    """Make one shard of every track, (T, N): few patterns, turned and scaled track by track."""
    patterns = coverage_like(min(PATTERNS, tracks))
    values_TN = np.empty((tracks, SHARD_BINS), np.float32)
    for track in range(tracks):
        turned = np.roll(patterns[track % len(patterns)], 977 * track)
        values_TN[track] = turned * np.float32(0.5 + (track * 0.6180339887) % 1)
    return values_TN


def write_head(path: Path, tracks: TrackSet, shards: int) -> Written:
    """Write a chromosome of several shards of all tracks; the values are there before the clock."""
    values_TN = head_values(len(tracks))
    plan = plan_bins({GENE[0]: shards * SHARD_BINS}, SHARD_BINS)
    blocks = assign_blocks(tracks)
    manifest = manifest_of(plan, tracks, GENOME_TRACKS.format)
    wall_s = cpu_s = 0.0

    def pieces(shard: int) -> Iterator[Piece]:
        span = plan.spans[shard]
        for block, members in blocks.items():
            columns: dict[str, Any] = {"start": plan.starts(shard)}
            columns |= {f"t{track:04d}": values_TN[track] for track in members}
            yield Piece(block, span.chrom, span.start, span.end, columns)

    with ShardSink.begin(path, manifest, plan=plan, tracks=tracks, blocks=blocks) as sink:
        for shard in sink.pending():
            begun, begun_cpu = time.perf_counter(), time.process_time()
            sink.write(shard, pieces(shard))
            wall_s += time.perf_counter() - begun
            cpu_s += time.process_time() - begun_cpu
        sink.seal()
    return Written("tracks", shards * values_TN.size, data_bytes(path), wall_s, cpu_s)


def write_effects(path: Path, folder: Path, count: int) -> Written:
    """Write SNVs at random places of two chromosomes, with normal scores of one statistic."""
    draw = np.random.default_rng(SEED)
    half = count // 2
    places = {
        chrom: np.sort(draw.choice(100 * half, rows, replace=False) + 1)
        for chrom, rows in (("chr1", half), ("chr2", count - half))
    }
    scores_TN = draw.normal(size=(EFFECT_TRACKS, count)).astype(np.float32) ** 3

    def value(_: str, track: int, first: int, rows: int) -> Values:
        return scores_TN[track, first : first + rows]

    plan = plan_variants(folder, snvs(places))
    begun, begun_cpu = time.perf_counter(), time.process_time()
    write_variants(path, plan, TrackSet.unnamed("human", EFFECT_TRACKS), value)
    wall_s, cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
    return Written("effects", scores_TN.size, data_bytes(path), wall_s, cpu_s)


def write_many(path: Path, files: int) -> None:
    """Write a run of as many files, small ones."""
    values = np.random.default_rng(SEED).random((4, MANY_BINS), dtype=np.float32)
    plan = plan_bins({"chr1": files * MANY_BINS}, MANY_BINS)
    tracks = TrackSet.unnamed("human", 4)
    write_bins(path, plan, tracks, lambda _chrom, _first, bins, track: values[track, :bins])


def data_bytes(run: Path) -> int:
    return sum(file.stat().st_size for file in (run / "data").rglob("*.parquet"))


def plain_bytes_per_value(run: Run, compression: str) -> float:
    """Write the first file of a run again, every column PLAIN, and divide by its values."""
    file = pq.ParquetFile(run.path / run.files["path"][0]).read()
    sink = pa.BufferOutputStream()
    pq.write_table(file, sink, use_dictionary=False, compression=compression)
    values = sum(pa.types.is_floating(field.type) for field in file.schema)
    return len(sink.getvalue()) / (file.num_rows * values)


# --- Questions


def along_genome(run: Run, tracks: TrackSet) -> Iterator[Case]:
    """Ask for places of a run of bins."""
    chrom, start, end = GENE
    last = tracks.columns[-1]
    block = next(name for name, held in run.blocks.items() if int(tracks.indices[-1]) in held)
    folder = run.path / "data/tracks"
    low, high = start - BIN_BP, end

    def scanned(name: str, *where: pl.Expr) -> pl.LazyFrame:
        return pl.scan_parquet(folder / f"block={name}", hive_partitioning=True).filter(*where)

    def in_sql(name: str) -> str:
        source = f"read_parquet('{folder}/block={name}/**/*.parquet', hive_partitioning = true)"
        return f"SELECT * EXCLUDE (block, chrom) FROM {source} WHERE chrom = '{chrom}'"

    is_chrom = pl.col("chrom") == chrom
    is_gene = pl.col("start").is_between(low, high, closed="none")
    gene_sql = f"start > {low} AND start < {high}"
    yield Case(
        f"one track of {len(tracks):,}, 100 kb",
        {
            "cisray": lambda: run.scan(last, GENE).select("start", last).collect(),
            "polars": lambda: scanned(block, is_chrom, is_gene).select("start", last).collect(),
            "duckdb": lambda: sql(f"SELECT start, {last} FROM ({in_sql(block)}) WHERE {gene_sql}"),
        },
    )
    yield Case(
        f"one track of {len(tracks):,}, a chromosome of {run.plan.rows:,} bins",
        {
            "cisray": lambda: run.scan(last, chrom).select("start", last).collect(),
            "polars": lambda: scanned(block, is_chrom).select("start", last).collect(),
            "duckdb": lambda: sql(f"SELECT start, {last} FROM ({in_sql(block)})"),
        },
    )
    columns = ["start", *tracks.columns]

    def all_polars() -> pl.DataFrame:
        parts = [scanned(name, is_chrom, is_gene).drop("chrom") for name in run.blocks]
        wide = [part if not i else part.drop("start") for i, part in enumerate(parts)]
        return pl.concat(wide, how="horizontal").select(columns).collect()

    def all_duckdb() -> pl.DataFrame:
        tables = [f"({in_sql(name)} AND {gene_sql}) AS b{i}" for i, name in enumerate(run.blocks)]
        joined = tables[0] + "".join(f" JOIN {other} USING (start)" for other in tables[1:])
        return sql(f"SELECT * FROM {joined}").select(columns)

    yield Case(
        f"all {len(tracks):,} tracks, 100 kb",
        {
            "cisray": lambda: run.scan(region=GENE).select(columns).collect(),
            "polars": all_polars,
            "duckdb": all_duckdb,
        },
    )


def of_variants(run: Run) -> Iterator[Case]:
    """Ask for the strongest variants, and for those of a table."""
    folder = run.path / "data/effects/block=sel"
    source = f"read_parquet('{folder}/*.parquet')"
    keys = ["variant", "SAD_t0005"]
    tie = ["chrom", "pos", "ref", "alt", "variant"]

    def top_polars(track: int, k: int) -> pl.LazyFrame:
        by = [pl.col(f"SAD_t{track:04d}").abs(), *tie]
        frame = pl.scan_parquet(folder).select(*tie, f"SAD_t{track:04d}")
        return frame.top_k(k, by=by, reverse=[False] + [True] * 5).select("variant")

    def top_duckdb(track: int, k: int) -> pl.DataFrame:
        order = f"abs(SAD_t{track:04d}) DESC, {', '.join(tie)}"
        return sql(f"SELECT variant FROM {source} ORDER BY {order} LIMIT {k}")

    held = run.tracks.indices.tolist()
    yield Case(
        f"top {TOP:,} of {run.plan.rows:,} variants by absolute SAD of one track",
        {
            "cisray": lambda: run.top(TOP, tracks=5).select("variant"),
            "polars": lambda: top_polars(5, TOP).collect(),
            "duckdb": lambda: top_duckdb(5, TOP),
        },
    )
    yield Case(
        f"top {TOP_OF_EACH} of them of each of {len(held)} tracks",
        {
            "cisray": lambda: run.top(TOP_OF_EACH).select("variant"),
            "polars": lambda: pl.concat(pl.collect_all(top_polars(t, TOP_OF_EACH) for t in held)),
            "duckdb": lambda: pl.concat(top_duckdb(t, TOP_OF_EACH) for t in held),
        },
    )
    chosen = run.variants.select("chrom", "pos", "ref", "alt").collect().sample(JOINED, seed=SEED)
    asked = chosen.with_columns(pl.col("chrom").cast(pl.String))
    on = asked.columns

    def join_polars() -> pl.DataFrame:
        frame = pl.scan_parquet(folder).select(*on, *keys)
        return asked.lazy().join(frame, on=on, how="inner").select(keys).collect()

    def join_duckdb() -> pl.DataFrame:
        return sql(
            f"SELECT variant, SAD_t0005 FROM asked JOIN {source} USING ({', '.join(on)})", asked
        )

    yield Case(
        f"{JOINED:,} variants of a table, one track",
        {
            "cisray": lambda: run.join_variants(asked, tracks=5).select(keys).collect(),
            "polars": join_polars,
            "duckdb": join_duckdb,
        },
    )


def of_many_files(path: Path, files: int) -> Iterator[Case]:
    """Open a run and read a little of it."""
    start = MANY_BINS * BIN_BP * (files // 2)
    region = ("chr1", start, start + 50_000)
    folder = path / "data/tracks/block=sel"
    is_there = pl.col("start").is_between(start - BIN_BP, start + 50_000, closed="none")

    def in_polars() -> pl.DataFrame:
        frame = pl.scan_parquet(folder, hive_partitioning=True).filter(pl.col("chrom") == "chr1")
        return frame.filter(is_there).select("start", "t0003").collect()

    yield Case(
        f"open a run of {files:,} files, one track, 50 kb",
        {
            "cisray": lambda: open_run(path).scan(3, region).select("start", "t0003").collect(),
            "polars": in_polars,
            "duckdb": lambda: sql(
                f"SELECT start, t0003 FROM read_parquet('{folder}/**/*.parquet', "
                f"hive_partitioning = true) WHERE chrom = 'chr1' AND start > {start - BIN_BP} "
                f"AND start < {start + 50_000}"
            ),
        },
    )


def sql(query: str, asked: pl.DataFrame | None = None) -> pl.DataFrame:
    """Ask DuckDB; `asked` is a table of the query."""
    if asked is not None:
        duckdb_connection().register("asked", asked.to_arrow())
    return duckdb_connection().sql(query).pl()


@cache
def duckdb_connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def measure(case: Case, repeats: int) -> Timing:
    """Check that all engines give the same, then ask them in turns."""
    answers = {engine: case.asked[engine]() for engine in ENGINES}
    first = ordered(answers["cisray"])
    for engine, answer in answers.items():
        assert ordered(answer).equals(first), f"{engine} answers otherwise: {case.name}"
    assert first.height
    wall_s: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    cpu_s: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for repeat in range(repeats):
        # Each engine follows each other one: what one leaves in caches and threads is shared out.
        for turn in range(len(ENGINES)):
            engine = ENGINES[(repeat + turn) % len(ENGINES)]
            begun, begun_cpu = time.perf_counter(), time.process_time()
            case.asked[engine]()
            wall_s[engine].append(time.perf_counter() - begun)
            cpu_s[engine].append(time.process_time() - begun_cpu)
    return Timing(case.name, first.shape, wall_s, cpu_s)


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(frame.columns[0])


# --- Report


def gpu_rates() -> dict[str, tuple[str, float]]:
    """Tell how many MB of float32 a GPU makes a second, by the newest result of `gpu_engine`."""
    newest = json.loads(max(RESULTS.glob("*-gpu_engine.json")).read_text())
    timings = {timing["name"]: timing for timing in newest["timings"]}
    return {
        precision: (
            newest["machine"]["gpu"],
            4e-6 * TILE_VALUES / median(timings[name]["seconds"]),
        )
        for precision, name in GPU_TILES.items()
    }


def report_queries(timings: list[Timing]) -> str:
    rows = [
        ("milliseconds by the clock (of the processor)", "answer", *ENGINES,
         "polars / cisray", "duckdb / cisray")
    ]  # fmt: skip
    for timing in timings:
        spent = {engine: timing.milliseconds(engine) for engine in ENGINES}
        shape = " x ".join(f"{count:,}" for count in timing.shape)
        cells = [f"{wall:,.1f} ({cpu:,.1f})" for wall, cpu in spent.values()]
        mine = spent["cisray"]
        ratios = (
            f"{spent[engine][0] / mine[0]:.1f} ({spent[engine][1] / mine[1]:.1f})"
            for engine in ENGINES[1:]
        )
        rows.append((timing.name, shape, *cells, *ratios))
    return table(rows)


def report_sizes(written: list[Written], plain: dict[str, dict[str, float]]) -> str:
    rows = [("bytes a value, keys and footers included", "tracks", "effects")]
    stored = {one.name: one.stored_bytes / one.values for one in written}
    rows.append(("as stored, 10 mantissa bits", *(f"{stored[name]:.2f}" for name in rows[0][1:])))
    for compression, sizes in plain.items():
        label = f"the same values PLAIN, {compression}"
        rows.append((label, *(f"{sizes[name]:.2f}" for name in rows[0][1:])))
    return table(rows)


def report_writing(written: list[Written]) -> str:
    rows = [("written", "MB of float32", "wall, s", "processor, s", "MB/s wall", "MB/s a core")]
    rows += [
        (
            one.name,
            f"{one.megabytes:,.0f}",
            f"{one.wall_s:.1f}",
            f"{one.cpu_s:.1f}",
            f"{one.megabytes / one.wall_s:.0f}",
            f"{one.megabytes / one.cpu_s:.0f}",
        )
        for one in written
    ]
    a_core = written[0].megabytes / written[0].cpu_s
    keep_up = [
        f"In {precision} one {gpu} makes {rate:,.0f} MB of tracks a second: "
        f"{math.ceil(rate / a_core)} such cores keep up."
        for precision, (gpu, rate) in gpu_rates().items()
    ]
    return f"{table(rows)}\n\n{' '.join(keep_up)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tracks", type=int, default=5_313)
    parser.add_argument("--shards", type=int, default=7, help="of 57,344 bins; at least 3")
    parser.add_argument("--variants", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=MANY_FILES)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--folder", type=Path, help="where to write; the system's temporary folder")
    parser.add_argument("--keep", action="store_true", help="write a result file")
    options = parser.parse_args()
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="cisray-bench-", dir=options.folder) as name:
        folder = Path(name)
        tracks = TrackSet.unnamed("human", options.tracks)
        written = [
            write_head(folder / "tracks", tracks, options.shards),
            write_effects(folder / "effects", folder, options.variants),
        ]
        write_many(folder / "many", options.files)
        runs = {name: open_run(folder / name) for name in ("tracks", "effects", "many")}
        cases = [
            *along_genome(runs["tracks"], tracks),
            *of_variants(runs["effects"]),
            *of_many_files(folder / "many", options.files),
        ]
        timings = [measure(case, options.repeats) for case in cases]
        plain = {
            way: {name: plain_bytes_per_value(runs[name], way) for name in ("tracks", "effects")}
            for way in ("none", "zstd")
        }
        versions = {"polars": pl.__version__, "duckdb": duckdb.__version__}
    facts = {
        "benchmark": "query_run",
        "values": "made up, written through ShardSink",
        "timings": [asdict(timing) for timing in timings],
        "written": [asdict(one) for one in written],
        "plain_bytes_per_value": plain,
        "machine": machine_facts(threads=pl.thread_pool_size()) | versions,
        "load_average": [before, load_average()],
    }
    opening = (
        f"Warm queries of runs of made-up values (written through ShardSink), {options.repeats} "
        f"times in turns, medians; all engines gave the same answers. Compare processor time where "
        f"the load average is above the number of cores:"
    )
    parts = (
        opening,
        report_queries(timings),
        report_sizes(written, plain),
        report_writing(written),
    )
    text = "\n\n".join(parts)
    publish("query_run", text, facts, keep=options.keep)


if __name__ == "__main__":
    main()
