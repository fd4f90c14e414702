"""Asks a task that `kshot export` wrote about pictures, with onnxruntime, numpy and pillow alone.

python run_onnx.py stamps.onnx picture.png [more.png ...]        one JSON line per picture
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def picture(path: str, channels: int, size: int) -> np.ndarray:
    """A picture file as float32 [channels, size, size] in 0..1, as the graph wants it."""
    image = Image.open(path).convert("L" if channels == 1 else "RGB")
    planes = []
    for plane in image.split():
        exact = Image.fromarray(np.asarray(plane, dtype=np.float32) / 255)  # mode F: nothing is rounded
        planes.append(np.asarray(exact.resize((size, size), Image.Resampling.BILINEAR)))
    return np.stack(planes)


def main(model: str, paths: list[str]) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["kshot"])
    _, channels, size, _ = about["inputs"][0]["shape"]
    images = np.stack([picture(path, channels, size) for path in paths])
    names = ["labels", "probabilities", "unknown"]
    for path, label, shares, unknown in zip(paths, *session.run(names, {"images": images}), strict=True):
        told = dict(zip(about["space"]["labels"], map(float, shares), strict=True))
        print(json.dumps({"file": path, "label": label, "unknown": bool(unknown), "probabilities": told}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
