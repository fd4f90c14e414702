"""Which numbers move: full, head, body, bias, FiLM, LoRA."""

from kshot.adaptation.subset import Subset, norm_parameters, subset

__all__ = ["Subset", "norm_parameters", "subset"]
