"""What turns a text into a vector, and how a model folder remembers it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from twofold.artifact import read_json
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.tfidf import TfidfEncoder
from twofold.records import InputError

Vectors = npt.NDArray[np.float32]

_FILE = "encoder.json"


class TextEncoder(Protocol):
    """Anything that gives similar texts similar vectors.

    Attributes:
        width: of a vector.
    """

    @property
    def width(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, (len(texts), width); zero where nothing in a text is known."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `load_encoder` needs into a model folder."""
        ...


def resolve_encoder(name: str, texts: Sequence[str]) -> TextEncoder:
    """An encoder to train with.

    Args:
        name: `tfidf`, fitted on `texts`; or the name or folder of a sentence-transformers model.
        texts: of the items and of the training queries.

    Raises:
        InputError: it can neither be found nor downloaded.
    """
    if name == TfidfEncoder.KIND:
        return TfidfEncoder.fit(texts)
    return SentenceEncoder.load(name)


def load_encoder(folder: Path) -> TextEncoder | None:
    """The encoder that a model folder was trained with, if any.

    Raises:
        InputError: it is not where it was, or has changed.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    described = read_json(path)
    if described["kind"] == TfidfEncoder.KIND:
        return TfidfEncoder.restore(folder)
    encoder = SentenceEncoder.load(described["name"])
    if encoder.fingerprint != described["fingerprint"]:
        raise InputError(
            f"{folder}: was trained with another text encoder than {described['name']} holds now; "
            f"put that one back, or train anew"
        )
    return encoder
