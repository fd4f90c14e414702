"""Which device a command computes on: --device."""

from __future__ import annotations

import os
from typing import Annotated

import torch
import typer

from kshot.errors import SettingError

DeviceOption = Annotated[
    str,
    typer.Option(help="'cpu', 'cuda', ...; 'auto' takes a CUDA card where there is one, else the processor."),
]


def pick_device(name: str) -> torch.device:
    """A device by name; "auto" is the CUDA card where there is one, else the processor.

    Raises:
        SettingError: the machine has no such device.
    """
    if name == "auto":
        card = "cuda:" + os.environ.get("LOCAL_RANK", "0")  # torchrun gives each of its processes a card
        return torch.device(card if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as cause:
        raise SettingError(
            f"device {name!r} cannot be used here ({str(cause).splitlines()[0]}); use cpu or auto"
        ) from None
    return device
