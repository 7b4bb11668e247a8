"""A pretrained sentence encoder, by name or folder."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.encoders.hub import is_unreachable
from twofold.records import InputError

_CACHED_TEXTS = 100_000
"""The largest number of texts whose vectors are cached: a study encodes the same ones in every arm.
"""


class SentenceEncoder:
    """A sentence-transformers model (the extra `text`).

    A model folder stores the encoder's name and the hash of its weights, as adapters do for their
    base model: otherwise every model of a study would contain the same ninety megabytes.

    Args:
        name: the name or folder of the model.
        model: the `SentenceTransformer`.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self.model = model
        self.width = int(model.get_embedding_dimension())
        self._cache: dict[str, npt.NDArray[np.float32]] = {}

    @property
    def sentence(self) -> "SentenceEncoder":
        """See `text_encoder.sentence_encoder_of`."""
        return self

    @staticmethod
    @lru_cache(maxsize=4)
    def load(name: str) -> "SentenceEncoder":
        """The encoder of a name or folder, one instance in a process.

        Raises:
            InputError: the extra is not installed, or the model can neither be found nor
                downloaded.
        """
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise InputError(
                f"encoder '{name}': needs sentence-transformers: install the extra \"text\" (pip "
                f'install -e ".[text]" in the clone), or use the encoder tfidf'
            ) from error
        disable_progress_bar()
        is_local = Path(name).is_dir()
        resolved = str(Path(name).resolve()) if is_local else name
        try:
            cached = not is_local and is_unreachable(name)
            model = SentenceTransformer(resolved, device="cpu", local_files_only=cached)
        except (OSError, ValueError) as error:
            raise InputError(
                f"encoder '{name}': not a folder with a sentence-transformers model, and it could "
                f"not be downloaded; download it on a machine with network access (hf "
                f"download {name}) and give its folder, or use tfidf ({str(error).splitlines()[0]})"
            ) from error
        return SentenceEncoder(resolved, model)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, in hex."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `TextEncoder`."""
        vectors = {"": np.zeros(self.width, np.float32)}
        vectors |= {text: self._cache[text] for text in texts if text in self._cache}
        if missing := [text for text in dict.fromkeys(texts) if text not in vectors]:
            rows = self.model.encode(missing, normalize_embeddings=True, show_progress_bar=False)
            encoded = dict(zip(missing, rows.astype(np.float32), strict=True))
            vectors |= encoded
            if len(self._cache) + len(encoded) <= _CACHED_TEXTS:
                self._cache |= encoded
        empty = np.zeros((0, self.width), np.float32)
        return np.stack([vectors[text] for text in texts]) if texts else empty

    def save(self, folder: Path) -> None:
        described = {"name": self.name, "fingerprint": self.fingerprint}
        self.path_in(folder).write_text(json.dumps(described, indent=2), encoding="utf-8")

    @staticmethod
    def path_in(folder: Path) -> Path:
        """The file in which a model folder names its sentence encoder."""
        return folder / "sentence_encoder.json"
