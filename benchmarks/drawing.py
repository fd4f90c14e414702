"""A meta-batch of 32 Omniglot-sized tasks, drawn by each library's own sampler from tensors in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

CLASSES, EACH, TASKS = 1200, 20, 32


def pictures() -> tuple[torch.Tensor, list[int]]:
    """Random numbers: their values do not matter for drawing."""
    x = torch.rand(CLASSES * EACH, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return x, [i // EACH for i in range(len(x))]


def kshot() -> Callable[[], None]:
    """Our source of tasks, as `fit` uses it: with freed memory kept."""
    from kshot.data import Episodes, Pool
    from kshot.tasks import NWayKShot
    from kshot.training.memory import keep_freed_memory

    keep_freed_memory()
    source, rng = Episodes(Pool(*pictures()), NWayKShot(5, 1, 15)), torch.Generator().manual_seed(0)
    return lambda: _check(len(source.sample_batch(TASKS, rng)))


def learn2learn() -> Callable[[], None]:
    """Its fused n-way k-shot transform, compiled from Cython, over a TensorDataset."""
    import learn2learn as l2l

    x, labels = pictures()
    data = l2l.data.MetaDataset(torch.utils.data.TensorDataset(x, torch.tensor(labels)))
    own = l2l.data.transforms
    steps = [own.FusedNWaysKShots(data, n=5, k=16), own.LoadData(data), own.RemapLabels(data),
             own.ConsecutiveLabels(data)]  # fmt: skip
    source = l2l.data.TaskDataset(data, task_transforms=steps, num_tasks=-1)
    return lambda: _check(len([source.sample() for _ in range(TASKS)]))


def torchmeta() -> Callable[[], None]:
    """Its batch loader without worker processes over classes that hold tensors."""
    import torchvision.datasets.utils as old

    old._get_confirm_token = old._save_response_content = (
        None  # its downloads need them; torchvision dropped them
    )
    import torchmeta.utils.data.task as task
    from torchmeta.transforms import Categorical, ClassSplitter
    from torchmeta.utils.data import BatchMetaDataLoader, ClassDataset, CombinationMetaDataset, Dataset

    # a torch newer than it asks every Subset for this method, and gives this very body in its message
    task.SubsetTask.__getitems__ = lambda self, places: [self[place] for place in places]
    x = pictures()[0].view(CLASSES, EACH, 1, 28, 28)

    class One(Dataset):
        def __init__(self, index: int, **more: Any) -> None:
            super().__init__(index, **more)

        def __len__(self) -> int:
            return EACH

        def __getitem__(self, place: int) -> Any:
            target = self.target_transform(self.index) if self.target_transform else self.index
            return x[self.index, place], target

    class All(ClassDataset):
        num_classes = CLASSES

        def __init__(self) -> None:
            super().__init__(meta_train=True)

        def __getitem__(self, index: int) -> Any:
            return One(
                index, transform=self.get_transform(index), target_transform=self.get_target_transform(index)
            )

    split = ClassSplitter(shuffle=True, num_train_per_class=1, num_test_per_class=15)
    combined = CombinationMetaDataset(
        All(), num_classes_per_task=5, target_transform=Categorical(5), dataset_transform=split
    )
    batches = iter(BatchMetaDataLoader(combined, batch_size=TASKS, num_workers=0))
    return lambda: _check(len(next(batches)["train"][0]))


def _check(count: int) -> None:
    assert count == TASKS
