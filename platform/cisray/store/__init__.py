"""Run directories: predictions written shard by shard, sealed, and queried.

Knows Arrow, Parquet, Polars, local disks and object stores; knows nothing of DNA, models, torch or
Ray. `manifest` and `plan` say what a run is, `run` writes it, `seal` ends it, `scan` reads it,
`queries` join, rank and sum what it reads, `compact` joins its files, `summarise` keeps the
strongest tracks of its rows; `kinds` says in what runs of bins and of variants differ, `folder`
what all of them ask of the place that they lie in.

    RUN/
      run.json           what the run is made from; written last at the start
      tracks.parquet     its tracks, with the block of columns that each lies in
      windows.parquet    of bins: its tiles, with the shard and the rows that each owes
      variants.parquet   of variants (or substitutions.parquet): its rows, a row group a shard
      rejects.parquet    of variants: what came in and is not scored
      data/tracks/block=B/chrom=C/C_START_END.ATTEMPT.parquet, of bins
      data/effects/block=B/C_START_END_SHARD.ATTEMPT.parquet, of variants
      _commits/          SHARD.BEGUN.json, a record of each finished shard: what none names is not
                         in the run
      _failed/           the same of each shard given up, until it is committed after all
      _staging/          BEGUN: files on their way; without this folder nothing can be published
      _manifest.parquet  the data files, once sealed
      summary.json       how long it took, and on what, once sealed
      _history.jsonl     the records of a run that was compacted, in the place of _commits/
      summary/           groups.json and the table that it names: what was summarised
      _SUCCESS           BEGUN; the run is sealed
      _lock              locked by the driver

BEGUN is the beginning that the run goes back to, another one after each restart.
"""
