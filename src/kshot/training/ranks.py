"""One training in several processes: `torchrun` starts them, each takes its share of the tasks of every update.

    torchrun --nproc-per-node 2 my_training.py        the script calls `kshot.fit` as ever

Meta-gradients are means over tasks, so the mean over processes of equal shares is that of all tasks: as with
torch's DistributedDataParallel (Li et al. 2020), but over tasks.
"""

from __future__ import annotations

import atexit
import datetime
import os
import time
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from kshot.errors import SettingError
from kshot.tasks import Task, TaskSource, sample_batch

T = TypeVar("T")
_PATIENCE = datetime.timedelta(days=7)
"""How long processes wait for one another: validation or a slow disk may hold one; torchrun ends all where one dies."""
_LENT = 0.2
"""Seconds for which Python's lock is lent at the end, see `_close`."""
_STATISTICS = ("running_mean", "running_var")


class Ranks:
    """This process among those of one training. Alone (`size` 1) it sends nothing and waits for nobody.

    Attributes:
        rank: its number. size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def here(cls, device: torch.device) -> Ranks:
        """The processes of torchrun, or of a process group that is open already; else this one alone."""
        if not (_started_by_torchrun() or (distributed.is_available() and distributed.is_initialized())):
            return cls()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            if not distributed.is_backend_available(backend):
                raise SettingError(
                    f"torch was built without {backend}, which training on {device} in several processes needs"
                )
            distributed.init_process_group(backend, timeout=_PATIENCE)
            atexit.register(_close)
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def leads(self) -> bool:
        """Does this process write files and speak?"""
        return self.rank == 0

    def check(self, meta_batch: int) -> None:
        """Raise SettingError where the tasks of an update cannot be shared equally."""
        if meta_batch % self.size:
            raise SettingError(
                f"meta_batch is {meta_batch} on {self.size} processes; each takes as many tasks of an update: use a "
                f"multiple of {self.size}, for example meta_batch={-(-meta_batch // self.size) * self.size}"
            )

    def draw(self, source: TaskSource, count: int, generator: torch.Generator) -> list[Task]:
        """This process's share of `count` tasks; the generator moves on as if it had drawn them all.

        A source that has `skip(generator)` is spared the others' tasks; else all are drawn.
        """
        skip = getattr(source, "skip", None)
        if self.alone or skip is None:
            return sample_batch(source, count, generator)[self.rank :: self.size]
        found: list[Task] = []
        for place in range(count):
            if place % self.size == self.rank:
                found.append(source.sample(generator))
            else:
                skip(generator)
        return found

    def told(self, value: T) -> T:
        """What the first process says."""
        if self.alone:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, asked: bool) -> bool:
        """Does one of them say yes?"""
        return asked if self.alone else self._sum(float(asked)) > 0

    def total(self, value: float) -> float:
        """The sum over processes."""
        return value if self.alone else self._sum(value)

    def wait(self) -> None:
        """Go on when all have come here."""
        if not self.alone:
            distributed.barrier()

    def share(self, modules: Sequence[nn.Module]) -> None:
        """Give the first process's weights to all."""
        if self.alone:
            return
        for module in modules:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, src=0)

    def average(self, module: nn.Module, loss: float) -> float:
        """Meta-gradients, and running statistics of norms, become their means over processes; so does the loss."""
        if self.alone:
            return loss
        parameters = [p for p in module.parameters() if p.requires_grad]
        statistics = [b for name, b in module.named_buffers() if name.rpartition(".")[2] in _STATISTICS]
        like = parameters[0]
        has = [p.grad is not None for p in parameters]
        parts: list[Tensor | None] = [p.grad for p in parameters]
        pieces = [
            (torch.zeros_like(p) if part is None else part).detach().reshape(-1)
            for p, part in zip(parameters, parts, strict=True)
        ]
        flat = torch.cat(
            [*pieces, *[b.reshape(-1).to(like) for b in statistics], like.new_tensor([loss, *has])]
        )
        distributed.all_reduce(flat)
        found = torch.split(
            flat, [p.numel() for p in parameters] + [b.numel() for b in statistics] + [1, len(has)]
        )
        for p, mean, count in zip(parameters, found, found[-1].tolist(), strict=False):
            if count:  # some process has a gradient
                p.grad = torch.empty_like(p).copy_((mean / self.size).view(p.shape))
        for b, mean in zip(statistics, found[len(parameters) :], strict=False):
            b.copy_((mean / self.size).view(b.shape))
        return float(found[-2]) / self.size

    @staticmethod
    def _sum(value: float) -> float:
        on_gpu = distributed.get_backend() == "nccl"
        box = torch.tensor([value], dtype=torch.float64, device="cuda" if on_gpu else "cpu")
        distributed.all_reduce(box)
        return float(box)


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if _started_by_torchrun() else 1


def speaks() -> bool:
    """Is this the process that prints and writes files: the only one, or torchrun's first?"""
    return not _started_by_torchrun() or os.environ.get("RANK", "0") == "0"


def _started_by_torchrun() -> bool:
    return distributed.is_available() and distributed.is_torchelastic_launched()


def _close() -> None:
    """Leave the group while the interpreter is whole.

    gloo's threads let go of the tensors of the last exchange after it has ended, and need Python's lock for that;
    one that still waits for it when the interpreter is taken down ends the process with SIGABRT. Sleeping lends it.
    """
    if distributed.is_initialized():
        distributed.destroy_process_group()
    time.sleep(_LENT)
