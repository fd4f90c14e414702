"""Banks of answers from files; `AnswerBank.save` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from kshot import storage
from kshot.bundles import make_encoder
from kshot.errors import BundleError
from kshot.text.answer_bank import AnswerBank
from kshot.text.feedback import Rule
from kshot.text.mixing import Mix
from kshot.text.new_bank import answers
from kshot.text.texts import TextEncoder


def load_answers(path: str | Path, *, encoder: TextEncoder | None = None) -> AnswerBank:
    """A bank that `save` wrote.

    Args:
        encoder: the one it was made with; None: it is made anew, from the file or from where its weights lie.

    Raises:
        BundleError: no such file, a damaged one, or another encoder.
    """
    place = Path(path)
    manifest, tensors = storage.read(place)
    if manifest.get("what") != "answers":
        raise BundleError(f"{place} holds a {manifest.get('what')!r}; load_answers opens banks of answers")
    try:
        made = encoder if encoder is not None else _encoder(manifest["encoder"], tensors)
        if made.fingerprint() != manifest["fingerprint"]:
            raise BundleError(
                f"{place} was made with another encoder ({manifest['fingerprint'][:12]}) than {made.kind} "
                f"({made.fingerprint()[:12]}); give the right one as encoder="
            )
        told = manifest["feedback"]
        bank = answers(
            manifest["entries"], made, mix=Mix.from_json(manifest["mix"]), rule=Rule(**told["rule"])
        )
        bank = bank.with_known(manifest["known"]) if manifest["known"] else bank
        return bank.learn_from(told["given"])
    except BundleError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as cause:
        raise BundleError(
            f"{place} is no bank of answers that makes sense ({cause}); save it again"
        ) from cause


def _encoder(spec: dict[str, Any], tensors: dict[str, Tensor]) -> TextEncoder:
    made = make_encoder(spec)
    if not isinstance(made, TextEncoder):
        raise BundleError(
            f"encoder {spec['kind']!r} takes {made.modality} inputs; answers need one for texts"
        )
    made.load_state_dict(tensors)
    return made.eval()
