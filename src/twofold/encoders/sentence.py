"""A pretrained sentence encoder, by name or folder; its weights are used as they are."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.records import InputError

_MEMORY = 100_000
"""Texts whose vectors are kept: a study asks for the same ones in every arm."""


class SentenceEncoder:
    """A sentence-transformers model (the extra `text`).

    A model folder names its encoder and the hash of its weights, as adapters name their base
    model: ninety megabytes would otherwise stand in every model of a study.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self.model = model
        self.width = int(model.get_embedding_dimension())
        self._memory: dict[str, npt.NDArray[np.float32]] = {}

    @staticmethod
    @lru_cache(maxsize=4)
    def load(name: str) -> "SentenceEncoder":
        """The encoder of that name or folder, one instance a process.

        Raises:
            InputError: the extra is missing, or the model neither found nor downloaded.
        """
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise InputError(
                f"encoder '{name}': needs sentence-transformers; pip install 'twofold[text]', or "
                f"use the encoder tfidf, which needs nothing"
            ) from error
        disable_progress_bar()
        place = str(Path(name).resolve()) if Path(name).is_dir() else name
        try:
            model = SentenceTransformer(place, device="cpu")
        except (OSError, ValueError) as error:
            raise InputError(
                f"encoder '{name}': not a folder with a sentence-transformers model, and it could "
                f"not be downloaded; fetch it where the network is open (huggingface-cli download "
                f"{name}) and give its folder, or use tfidf ({str(error).splitlines()[0]})"
            ) from error
        return SentenceEncoder(place, model)

    @property
    def sentence(self) -> "SentenceEncoder":
        """See `twofold.encoders.text_encoder.TextEncoder`."""
        return self

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, in hex."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `twofold.encoders.text_encoder.TextEncoder`."""
        vectors = {"": np.zeros(self.width, np.float32)}
        vectors |= {text: self._memory[text] for text in texts if text in self._memory}
        if missing := [text for text in dict.fromkeys(texts) if text not in vectors]:
            made = self.model.encode(missing, normalize_embeddings=True, show_progress_bar=False)
            found = dict(zip(missing, made.astype(np.float32), strict=True))
            vectors |= found
            if len(self._memory) + len(found) <= _MEMORY:
                self._memory |= found
        empty = np.zeros((0, self.width), np.float32)
        return np.stack([vectors[text] for text in texts]) if texts else empty

    def save(self, folder: Path) -> None:
        described = {"name": self.name, "fingerprint": self.fingerprint}
        self.path_in(folder).write_text(json.dumps(described, indent=2), encoding="utf-8")

    @staticmethod
    def path_in(folder: Path) -> Path:
        """Where a model folder names its sentence encoder."""
        return folder / "sentence_encoder.json"
