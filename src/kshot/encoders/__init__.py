"""Encoders: from inputs to features. Each owns its inputs and has a fingerprint."""

from kshot.encoders.conv4 import Conv4
from kshot.encoders.encoder import Encoder
from kshot.encoders.images import ImageEncoder
from kshot.encoders.norms import BatchNorm2d, normalising
from kshot.encoders.resnet12 import ResNet12
from kshot.encoders.scaled import ScaledRows
from kshot.encoders.torchvision_models import TorchVision
from kshot.encoders.vectors import MLP, Identity, Pixels, VectorEncoder

conv4 = Conv4
resnet12 = ResNet12
mlp = MLP
identity = Identity
pixels = Pixels
torchvision = TorchVision

__all__ = [
    "MLP",
    "BatchNorm2d",
    "Conv4",
    "Encoder",
    "Identity",
    "ImageEncoder",
    "Pixels",
    "ResNet12",
    "ScaledRows",
    "TorchVision",
    "VectorEncoder",
    "conv4",
    "identity",
    "mlp",
    "normalising",
    "pixels",
    "resnet12",
    "torchvision",
]
