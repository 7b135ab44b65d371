"""Element-wise chains of the fast engine, as they are and through torch.compile, in one run.

Knows the functions between two products (`cisray.inference.fast.differences`) and the rows that the
engine gives them at a time on a CPU. It answers whether compiling them pays: a chain that is fused
reads and writes its data once, but compiling takes seconds in every worker and needs a C++ compiler
there (docs/decisions/0011-torch-compile.md).

    python benchmarks/compiled_chains.py [--rounds 50] [--threads N] [--keep]
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from measuring import load_average, machine_facts, publish, table, timed

from cisray.inference.fast import differences
from cisray.inference.fast.transformer import CPU_ROWS

WIDTH, HIDDEN, TRACKS, TOKENS = 1536, 3072, 5313, 1536

Chain = tuple[Callable[..., torch.Tensor], tuple[object, ...], int]


def chains() -> dict[str, Chain]:
    """List functions, their arguments for one chunk, and the chunks that an alternate takes.

    Chunks: 11 blocks of 1,536 rows and two norms each; a hidden layer each; a tail of 896 rows.
    """
    draw = torch.Generator().manual_seed(0)

    def rows(width: int, size: float = 1.0) -> torch.Tensor:
        return size * torch.randn(CPU_ROWS, width, generator=draw)

    chunks = 11 * TOKENS // CPU_ROWS
    tail = 896 / CPU_ROWS
    x, d, hidden, change = rows(WIDTH), rows(WIDTH, 1e-3), rows(HIDDEN), rows(HIDDEN, 1e-3)
    logits, moved, weight = rows(TRACKS), rows(TRACKS, 1e-3), torch.ones(WIDTH)
    return {
        "norm": (differences.norm_difference, (x, d, weight, 1e-5), 2 * chunks),
        "relu": (differences.relu_difference, (hidden, change), chunks),
        "silu": (differences.silu_difference, (hidden, change), round(tail)),
        "softplus": (differences.softplus_difference, (logits, moved), round(tail)),
    }


def measure(chain: Chain, rounds: int) -> dict[str, float]:
    """Time a chunk both ways, in turns; tell medians in milliseconds and the time to compile."""
    function, arguments, _ = chain
    compiled = torch.compile(function, dynamic=False)
    compile_s = timed(lambda: compiled(*arguments))
    expected = function(*arguments)
    assert (compiled(*arguments) - expected).norm() < 1e-4 * expected.norm()
    turns = [
        (timed(lambda: function(*arguments)), timed(lambda: compiled(*arguments)))
        for _ in range(rounds)
    ]
    eager, fused = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
    return {"eager_ms": eager, "compiled_ms": fused, "compile_s": compile_s}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keep", action="store_true", help="write a dated result file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    before = load_average()
    with torch.inference_mode():
        found = {name: measure(chain, options.rounds) for name, chain in chains().items()}
    lines = [("chain", "eager, ms", "compiled, ms", "per alternate saved, s", "to compile, s")]
    for name, (_, _, count) in chains().items():
        times = found[name]
        saved = count * (times["eager_ms"] - times["compiled_ms"]) / 1e3
        lines.append(
            (
                name,
                f"{times['eager_ms']:.2f}",
                f"{times['compiled_ms']:.2f}",
                f"{saved:.3f}",
                f"{times['compile_s']:.1f}",
            )
        )
    text = (
        f"Element-wise chains over {CPU_ROWS} rows, as the engine cuts them on a CPU, medians of "
        f"{options.rounds}:\n\n{table(lines)}"
    )
    facts = {
        "benchmark": "compiled_chains",
        "chains": found,
        "machine": machine_facts(options.threads),
        "load_average": [before, load_average()],
    }
    publish("compiled_chains", text, facts, keep=options.keep)


if __name__ == "__main__":
    main()
