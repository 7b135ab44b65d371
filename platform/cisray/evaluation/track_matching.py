"""Which tracks of a model speak for a tissue: by a table of queries, or by the words of its name.

Knows names of tissues and descriptions of tracks; knows no scores. What was matched, and how, is
part of the result: a text match is a guess that somebody has to look at.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cisray.errors import EvaluationError, TrackError
from cisray.evaluation.scores import RunScores, ScoreSource
from cisray.evaluation.tables import read_table, require_columns, scan_table

BY_TABLE, ALL_WORDS, FIRST_WORD, ONLY_COLUMN = "table", "all words", "first word", "only column"
ASSAY = "CAGE"
# Words of GTEx's names that say nothing about the tissue.
_EMPTY_WORDS = {"cells", "cultured", "and", "the", "of", "tissue"}
_MATCHES = {
    "tissue": pl.String,
    "scores": pl.String,
    "feature": pl.String,
    "description": pl.String,
    "rule": pl.String,
}


@dataclass(frozen=True, slots=True)
class Matched:
    """The features of one source that speak for a tissue; `reason` says why there is none."""

    tissue: str
    scores: str
    features: tuple[int, ...]
    rule: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Matching:
    """Queries of tracks by tissue, empty for matching by words; `assay` narrows those."""

    queries: Mapping[str, Sequence[str]]
    assay: str = ASSAY

    @classmethod
    def read(cls, path: Path, assay: str = ASSAY) -> "Matching":
        """Read a table of `tissue` and `query`, a row for each query; queries as `--tracks` has.

        Raises EvaluationError for a table without these columns or with blanks.
        """
        scan = scan_table(path, {"tissue": pl.String, "query": pl.String})
        require_columns(scan, ("tissue", "query"), path)
        table = read_table(scan.select("tissue", "query"), path)
        if table.null_count().sum_horizontal().item() or not table.height:
            raise EvaluationError(f"{path} must name a tissue and a query in each of its rows.")
        groups = table.group_by("tissue", maintain_order=True).agg("query")
        return cls(dict(groups.iter_rows()), assay)

    def match(self, tissue: str, source: ScoreSource, names: "FeatureNames") -> Matched:
        """Find the features of a source for a tissue.

        Raises EvaluationError for a query of the table that the run has no track for.
        """
        if not isinstance(source, RunScores):
            return _column_for(tissue, source.name, names.features)
        if self.queries:
            return self._by_table(tissue, source, names)
        return self._by_words(tissue, source.name, names)

    def _by_table(self, tissue: str, source: RunScores, names: "FeatureNames") -> Matched:
        if tissue not in self.queries:
            return Matched(tissue, source.name, (), BY_TABLE, "tissue not in the matching table")
        try:
            chosen = source.run.tracks.select(list(self.queries[tissue])).columns
        except TrackError as error:
            raise EvaluationError(f"the matching table, {tissue}: {error}") from error
        at = {feature: number for number, feature in enumerate(names.features)}
        found = tuple(at[column] for column in chosen if column in at)
        reason = "" if found else "its tracks are not among those of --tracks"
        return Matched(tissue, source.name, found, BY_TABLE, reason)

    def _by_words(self, tissue: str, scores: str, names: "FeatureNames") -> Matched:
        words = [w for w in re.split(r"[^a-z0-9]+", tissue.lower()) if w and w not in _EMPTY_WORDS]
        for rule, wanted in ((ALL_WORDS, words), (FIRST_WORD, words[:1])):
            found = tuple(
                number
                for number, (assay, text) in enumerate(
                    zip(names.assays, names.descriptions, strict=True)
                )
                if wanted and self._fits(assay) and _has_words(text, wanted)
            )
            if found:
                return Matched(tissue, scores, found, rule)
        told = f"no {self.assay} track has its words" if self.assay else "no track has its words"
        return Matched(tissue, scores, (), ALL_WORDS, told)

    def _fits(self, assay: str) -> bool:
        return not self.assay or assay.casefold() == self.assay.casefold()


@dataclass(frozen=True, slots=True)
class FeatureNames:
    """What the features of a source are called."""

    features: tuple[str, ...]
    assays: tuple[str, ...]
    descriptions: tuple[str, ...]


def _column_for(tissue: str, scores: str, features: tuple[str, ...]) -> Matched:
    """Take the column of a table that has the tissue's name, or its only one."""
    if tissue in features:
        return Matched(tissue, scores, (features.index(tissue),), BY_TABLE)
    if len(features) == 1:
        return Matched(tissue, scores, (0,), ONLY_COLUMN)
    return Matched(tissue, scores, (), BY_TABLE, "no column has its name")


def _has_words(text: str, words: Sequence[str]) -> bool:
    """Tell whether every word begins a word of a description.

    >>> _has_words("CAGE:liver, adult, pool1", ["liver"]), _has_words("CAGE:oliver", ["liver"])
    (True, False)
    """
    low = text.lower()
    return all(re.search(rf"(?<![a-z0-9]){re.escape(word)}", low) for word in words)


def matches_table(matched: Sequence[tuple[Matched, FeatureNames]]) -> pl.DataFrame:
    """List every tissue, source and feature that were matched, and those that were not."""
    rows: list[tuple[str | None, ...]] = []
    for match, names in matched:
        head = (match.tissue, match.scores)
        rows.extend(
            (*head, names.features[at], names.descriptions[at], match.rule) for at in match.features
        )
        if not match.features:
            rows.append((*head, None, None, match.reason))
    return pl.DataFrame(rows, schema=_MATCHES, orient="row")
