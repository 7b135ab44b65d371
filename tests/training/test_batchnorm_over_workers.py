"""Batch norm over two processes equals batch norm of the whole batch in one."""

from pathlib import Path

import torch
from torch import distributed, multiprocessing, nn

from cisray.training.batchnorm import SonnetBatchNorm


def run(share_BDL: torch.Tensor, whole: int) -> list[torch.Tensor]:
    """Outputs, gradients and statistics of a share of the batch under a loss of its own."""
    torch.manual_seed(0)
    norm, x = SonnetBatchNorm(3).train(), share_BDL.clone().requires_grad_()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.5, -1.0]))
    out = norm(x)
    (out.sin().sum() / whole).backward()
    return [
        out.detach(),
        x.grad,
        norm.weight.grad,
        norm.bias.grad,
        norm.running_mean,
        norm.running_var,
    ]


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    share = torch.load(f"{folder}/batch.pt")[2 * rank : 2 * rank + 2]
    torch.save(run(share, 4), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_normalise_by_the_whole_batch(tmp_path: Path) -> None:
    batch = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(1)) * 2 + 1
    torch.save(batch, tmp_path / "batch.pt")
    multiprocessing.start_processes(worker, (str(tmp_path),), nprocs=2, start_method="fork")
    out, x_grad, w_grad, b_grad, mean, var = run(batch, 4)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    close = {"rtol": 1e-5, "atol": 1e-6}
    assert torch.allclose(torch.cat([first[0], second[0]]), out, **close)
    assert torch.allclose(torch.cat([first[1], second[1]]), x_grad, **close)
    assert torch.allclose(first[2] + second[2], w_grad, **close)
    assert torch.allclose(first[3] + second[3], b_grad, **close)
    for share in (first, second):
        assert torch.allclose(share[4], mean, **close)
        assert torch.allclose(share[5], var, **close)
    plain = nn.BatchNorm1d(3)(batch[:2])
    assert not torch.allclose(first[0], plain * torch.tensor([0.5, 1.5, -1.0])[:, None], atol=1e-2)
