"""The tables of a made-up genome: its planted sites, its variants with their truth, its eQTLs.

One row per site, per variant, and per variant, gene and cell type that were tested together. What
the columns follow from stands in docs/synthetic.md.
"""

import pyarrow as pa

from cisray_schemas.table import Table, column

_CHROM = column("chrom", pa.string(), "chromosome, as the FASTA spells it")
_ID = column("id", pa.string(), "identifier of the variant in the VCF")

SYNTHETIC_SITES = Table(
    name="synthetic_sites",
    version=1,
    sort_by=("chrom", "start"),
    schema=pa.schema(
        [
            _CHROM,
            column("start", pa.int64(), "first base of the site", unit="bp", base="0-based"),
            column("end", pa.int64(), "base after its last", unit="bp", base="0-based"),
            column("strand", pa.string(), "strand that the motif was written on, + or -"),
            column("factor", pa.string(), "factor whose motif it is"),
            column("kind", pa.string(), "active in an element, or decoy outside all"),
            column("score", pa.float64(), "fit of the motif to the bases", unit="bits"),
            column("affinity", pa.float64(), "0 at the threshold, 1 for the best site there is"),
        ]
    ),
)

SYNTHETIC_VARIANTS = Table(
    name="synthetic_variants",
    version=1,
    sort_by=("chrom", "pos"),
    value_pattern="effect_t{track:04d}",
    schema=pa.schema(
        [
            _ID,
            _CHROM,
            column("pos", pa.int64(), "the base that is replaced", unit="bp", base="1-based"),
            column("ref", pa.string(), "reference base"),
            column("alt", pa.string(), "alternative base"),
            column("origin", pa.string(), "how it was placed: site, element, decoy, background"),
            column("element", pa.string(), "element that it lies in, empty for none"),
            column("factor", pa.string(), "factor of the planted site it lies in, empty for none"),
            column("frequency", pa.float64(), "share of the haplotypes with the alternative base"),
            column("causal", pa.bool_(), "whether it changes the expected signal of any track"),
        ]
    ),
)

SYNTHETIC_EQTLS = Table(
    name="synthetic_eqtls",
    version=1,
    sort_by=("gene", "cell", "id"),
    schema=pa.schema(
        [
            _ID,
            column("gene", pa.string(), "gene whose expression was tested"),
            column("cell", pa.string(), "cell type that it was measured in"),
            column("tss_distance", pa.int64(), "variant less start of the gene", unit="bp"),
            column("beta", pa.float64(), "slope of log2 expression per alternative allele"),
            column("se", pa.float64(), "standard error of the slope"),
            column("pip", pa.float64(), "posterior probability of being the causal variant"),
            column("true_beta", pa.float64(), "slope by construction; zero if not causal"),
        ]
    ),
)
