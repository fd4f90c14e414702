"""Marked boxes in files: COCO's JSON and PASCAL VOC's XML, in and out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kshot.encoders.pictures import read_picture
from kshot.errors import DataError, InputWarning, callers_level
from kshot.storage import replace_file

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_DEPTH = 10_000_000
"""Bytes of an XML file: a marked picture needs a thousandth of it."""


@dataclass(frozen=True)
class Marked:
    """Pictures with marked boxes.

    Attributes:
        paths: a picture's file each.
        targets: for each its boxes (left, top, right, bottom, label) in pixels.
        crowds: for each the boxes that mark a crowd (COCO) or are difficult (VOC); no example, and ignored when
            answers are judged.
        sizes: (width, height) of each, as the file says; None where it does not.
    """

    paths: list[Path]
    targets: list[list[tuple[Any, ...]]]
    crowds: list[list[tuple[Any, ...]]] = field(default_factory=list)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> list[str]:
        """Labels that occur, sorted."""
        return sorted({box[4] for boxes in self.targets for box in boxes})

    def take(self, places: Sequence[int]) -> Marked:
        """Those at `places`."""
        parts: list[Any] = [self.paths, self.targets, self.crowds, self.sizes]
        return Marked(*([part[place] for place in places] for part in parts))


def read_boxes(path: str | Path, pictures: str | Path | None = None) -> Marked:
    """A COCO file (.json), a folder of VOC files (.xml), or a folder that holds either.

    Args:
        pictures: the folder of the pictures; by default looked for beside the files, in folders such as images,
            JPEGImages.

    Raises:
        DataError: no such files, damaged ones, or pictures that are not there.
    """
    place = Path(path)
    if place.is_file() and place.suffix.lower() == ".json":
        return read_coco(place, pictures)
    if place.is_file() and place.suffix.lower() == ".xml":
        return read_voc([place], pictures)
    if place.is_dir():
        found = sorted(place.rglob("*.xml"))
        if found:
            return read_voc(found, pictures)
        plans = [file for file in sorted(place.glob("*.json")) if is_coco(file)]
        if len(plans) == 1:
            return read_coco(plans[0], pictures)
    raise DataError(
        f"{path} holds no marked boxes; give a COCO .json file with images, annotations and categories, or a folder of "
        "VOC .xml files"
    )


def is_boxes(path: str | Path) -> bool:
    """Does `read_boxes` find something here?"""
    place = Path(path)
    if place.is_file():
        return place.suffix.lower() == ".xml" or is_coco(place)
    if not place.is_dir():
        return False
    return any(True for _ in place.rglob("*.xml")) or any(map(is_coco, place.glob("*.json")))


def is_coco(path: Path) -> bool:
    """Is it a JSON file with COCO's three lists?"""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(found, dict) and {"images", "annotations", "categories"} <= set(found)


def read_coco(path: str | Path, pictures: str | Path | None = None) -> Marked:
    """Lin et al. (2014): boxes as left, top, width, height; iscrowd marks a crowd.

    Boxes that reach over the edge are cut to the picture; those without area are left out with a warning.

    Raises:
        DataError: no JSON, or something of it is missing.
    """
    place = Path(path)
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        names = {row["id"]: str(row["name"]) for row in found["categories"]}
        images = {row["id"]: row for row in found["images"]}
        folder = _Folder(place.parent, pictures)
        parts: dict[Any, tuple[list[Any], list[Any]]] = {key: ([], []) for key in images}
        flat = 0
        for row in found["annotations"]:
            left, top, width, height = map(float, row["bbox"])
            box = _cut((left, top, left + width, top + height), _size(images[row["image_id"]]))
            if box is None:
                flat += 1
            else:
                parts[row["image_id"]][int(bool(row.get("iscrowd")))].append(
                    (*box, names[row["category_id"]])
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise DataError(
            f"{place} is no COCO file that makes sense ({type(cause).__name__}: {cause}); it needs images (id, file_name), "
            "categories (id, name) and annotations (image_id, category_id, bbox of four numbers)"
        ) from None
    _told_of(flat, place)
    rows = [(folder.find(image["file_name"]), *parts[key], _size(image)) for key, image in images.items()]
    return Marked(*(list(column) for column in zip(*rows, strict=True))) if rows else Marked([], [])


def read_voc(files: Iterable[str | Path], pictures: str | Path | None = None) -> Marked:
    """Everingham et al. (2010): one XML file a picture; boxes that are difficult count as crowds.

    Raises:
        DataError: a damaged file, one that defines entities, or a picture that is not there.
    """
    rows, flat = [], 0
    for place in map(Path, files):
        root = _xml(place)
        try:
            size = root.find("size")
            sides = size is not None and (int(_text(size, "width")), int(_text(size, "height")))
            parts: tuple[list[Any], list[Any]] = ([], [])
            for thing in root.iter("object"):
                corners = thing.find("bndbox")
                if corners is None:
                    raise DataError("an object has no bndbox")
                whole = [float(_text(corners, side)) for side in ("xmin", "ymin", "xmax", "ymax")]
                box = _cut(tuple(whole), sides or None)
                flat += box is None
                if box is not None:
                    hard = (thing.findtext("difficult") or "0").strip() == "1"
                    parts[int(hard)].append((*box, _text(thing, "name")))
            name = root.findtext("filename") or f"{place.stem}.jpg"
        except (ValueError, DataError) as cause:
            raise DataError(
                f"{place} is no VOC file that makes sense ({cause}); mark the picture again"
            ) from None
        rows.append((_Folder(place.parent, pictures).find(name, place.stem), *parts, sides or None))
    _told_of(flat, Path(rows[0][0]).parent if rows else Path())
    return Marked(*(list(column) for column in zip(*rows, strict=True))) if rows else Marked([], [])


def _xml(place: Path) -> ElementTree.Element:
    """The root of an XML file; entities, with which a small file can fill all memory, are refused."""
    try:
        text = place.read_bytes()
        if len(text) > _DEPTH or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise DataError(
                f"{place} is larger than 10 MB or defines entities; a VOC file does neither: write it anew"
            )
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, OSError) as cause:
        raise DataError(
            f"{place} is no XML file that can be read ({cause}); mark the picture again"
        ) from None


def _text(node: ElementTree.Element, name: str) -> str:
    found = node.findtext(name)
    if found is None or not found.strip():
        raise DataError(f"{node.tag} has no {name}")
    return found.strip()


class _Folder:
    """Where pictures are looked for."""

    def __init__(self, beside: Path, pictures: str | Path | None) -> None:
        near = [beside, beside.parent]
        self.places = [Path(pictures)] if pictures else [
            *near, *(folder / name for folder in near for name in ("images", "JPEGImages", "pictures")),
        ]  # fmt: skip

    def find(self, name: str, stem: str | None = None) -> Path:
        names = [name, Path(name).name, *(f"{stem}{end}" for end in _PICTURES if stem)]
        for folder in self.places:
            for one in names:
                if (folder / one).is_file():
                    return folder / one
        raise DataError(
            f"picture {name!r} is not in {', '.join(map(str, self.places[:4]))}; say where with pictures="
        )


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (int(width), int(height)) if width and height else None


def _cut(box: tuple[float, ...], size: tuple[int, int] | None) -> tuple[float, ...] | None:
    """The box inside its picture; None where nothing of it is."""
    left, top, right, bottom = box
    if size is not None:
        left, right = max(left, 0.0), min(right, float(size[0]))
        top, bottom = max(top, 0.0), min(bottom, float(size[1]))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _told_of(flat: int, place: Path) -> None:
    if flat:
        warnings.warn(
            f"{place}: {flat} boxes have no area inside their picture and were left out; correct or delete them",
            InputWarning,
            stacklevel=callers_level(),
        )


def write_coco(path: str | Path, pictures: Sequence[str | Path], boxes: Sequence[Sequence[Any]]) -> Path:
    """Boxes (left, top, right, bottom, label) of pictures as a COCO file; a probability behind becomes its score.

    Raises:
        DataError: unequal numbers, or a picture that cannot be read.
    """
    if len(pictures) != len(boxes):
        raise DataError(
            f"{len(pictures)} pictures came with {len(boxes)} lists of boxes; give one list a picture"
        )
    labels = sorted({str(box[4]) for own in boxes for box in own})
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for n, (picture, own) in enumerate(zip(pictures, boxes, strict=True), start=1):
        height, width = read_picture(picture, str(picture)).shape[-2:]
        images.append({"id": n, "file_name": Path(picture).name, "width": width, "height": height})
        for box in own:
            left, top, right, bottom = map(float, box[:4])
            rows.append({
                "id": len(rows) + 1, "image_id": n, "category_id": labels.index(str(box[4])) + 1, "iscrowd": 0,
                "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top),
                **({"score": float(box[5])} if len(box) > 5 else {}),
            })  # fmt: skip
    whole = {
        "images": images, "annotations": rows,
        "categories": [{"id": n, "name": name} for n, name in enumerate(labels, start=1)],
    }  # fmt: skip
    replace_file(Path(path), json.dumps(whole).encode())
    return Path(path)


def write_voc(
    folder: str | Path, pictures: Sequence[str | Path], boxes: Sequence[Sequence[Any]]
) -> list[Path]:
    """Boxes of pictures as VOC files, one a picture, named after it. Raises DataError as `write_coco`."""
    if len(pictures) != len(boxes):
        raise DataError(
            f"{len(pictures)} pictures came with {len(boxes)} lists of boxes; give one list a picture"
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    written = []
    for picture, own in zip(pictures, boxes, strict=True):
        channels, height, width = read_picture(picture, str(picture)).shape
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = Path(picture).name
        size = ElementTree.SubElement(root, "size")
        for name, value in (("width", width), ("height", height), ("depth", channels)):
            ElementTree.SubElement(size, name).text = str(value)
        for box in own:
            thing = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(thing, "name").text = str(box[4])
            corners = ElementTree.SubElement(thing, "bndbox")
            for name, side in zip(("xmin", "ymin", "xmax", "ymax"), box[:4], strict=True):
                ElementTree.SubElement(corners, name).text = f"{float(side):g}"
        place = Path(folder) / f"{Path(picture).stem}.xml"
        replace_file(place, ElementTree.tostring(root))
        written.append(place)
    return written
