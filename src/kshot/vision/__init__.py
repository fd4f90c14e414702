"""Vision: sources, encoders and recipes for images, and detection: things found and named from a few boxes."""

from kshot.vision.average_precision import Precision, average_precision
from kshot.vision.box_files import Marked, is_boxes, read_boxes, write_coco, write_voc
from kshot.vision.centres import Centres
from kshot.vision.crops import Crops
from kshot.vision.detection import Detector, detector
from kshot.vision.glyph_scenes import GlyphScenes
from kshot.vision.omniglot import Splits, omniglot
from kshot.vision.one_shot_runs import OneShotRuns, hausdorff
from kshot.vision.photos import CentreCrop, TrainingCrop
from kshot.vision.picture_maps import MapEncoder, PictureMaps
from kshot.vision.pyramids import TorchVisionMaps
from kshot.vision.scenes import Scenes
from kshot.vision.tune import Tuned, tune

__all__ = [
    "CentreCrop",
    "Centres",
    "Crops",
    "Detector",
    "GlyphScenes",
    "MapEncoder",
    "Marked",
    "OneShotRuns",
    "PictureMaps",
    "Precision",
    "Scenes",
    "Splits",
    "TorchVisionMaps",
    "TrainingCrop",
    "Tuned",
    "average_precision",
    "detector",
    "hausdorff",
    "is_boxes",
    "omniglot",
    "read_boxes",
    "tune",
    "write_coco",
    "write_voc",
]
