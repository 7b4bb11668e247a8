"""A pretrained sentence encoder, by name or folder."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from twofold.data.download import cache_folder
from twofold.encoders.embedding_cache import Embedding, EmbeddingCache
from twofold.encoders.hub import is_unreachable
from twofold.encoders.vectors import Vectors
from twofold.records import InputError

_log = logging.getLogger(__name__)

_IN_MEMORY = 100_000
"""The largest number of texts whose vectors are kept in memory: a study encodes the same ones in
every arm."""

_MANY = 256
"""So many texts or more are those of a dataset, not of a few requests: their vectors are cached on
disk."""

_AT_ONCE = 64
"""The number of texts between two looks at the clock."""

_BETWEEN_LINES = 10.0
"""The smallest number of seconds between two files of the cache, and two lines of progress."""


class SentenceEncoder:
    """A sentence-transformers model (the extra `text`).

    A model folder stores the encoder's name and the hash of its weights, as adapters do for their
    base model: otherwise every model of a study would contain the same ninety megabytes.

    Args:
        name: the name or folder of the model.
        model: the `SentenceTransformer`.
        is_fixed: whether its weights never change, so that embeddings may be cached on disk.
    """

    def __init__(self, name: str, model: Any, *, is_fixed: bool = False) -> None:
        self.name = name
        self.model = model
        self._is_fixed = is_fixed
        self.width = int(model.get_embedding_dimension())
        self._in_memory: dict[str, Embedding] = {}

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
        return SentenceEncoder(resolved, model, is_fixed=True)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, in hex."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _version(self) -> str:
        """SHA-256 of what an embedding depends on: weights, modules and settings, in hex."""
        settings = self.model, self.model.max_seq_length, self.model.default_prompt_name
        return hashlib.sha256(repr((self.fingerprint, *settings)).encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `TextEncoder`."""
        vectors = {"": np.zeros(self.width, np.float32)}
        vectors |= {text: self._in_memory[text] for text in texts if text in self._in_memory}
        if missing := [text for text in dict.fromkeys(texts) if text not in vectors]:
            is_cached = self._is_fixed and len(missing) >= _MANY
            encoded = self._cached(missing) if is_cached else self._computed(missing)
            vectors |= encoded
            if len(self._in_memory) + len(encoded) <= _IN_MEMORY:
                self._in_memory |= encoded
        empty = np.zeros((0, self.width), np.float32)
        return np.stack([vectors[text] for text in texts]) if texts else empty

    def _computed(self, texts: Sequence[str]) -> dict[str, Embedding]:
        rows = self.model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return dict(zip(texts, rows.astype(np.float32), strict=True))

    def _cached(self, texts: Sequence[str]) -> dict[str, Embedding]:
        """The vectors of many texts: those on disk, and the others, which are then written there.

        Texts are ordered by length, as sentence-transformers does, so that batches have little
        padding. The last bits of a vector depend on the other texts of its batch.
        """
        cache = EmbeddingCache(cache_folder() / "embeddings" / self._version[:16], self.width)
        vectors = cache.read(texts)
        missing = sorted((text for text in texts if text not in vectors), key=len, reverse=True)
        sizes = np.cumsum([len(text) for text in missing])
        pending: dict[str, Embedding] = {}
        begin = last = time.monotonic()
        for start in range(0, len(missing), _AT_ONCE):
            pending |= self._computed(missing[start : start + _AT_ONCE])
            now, done = time.monotonic(), min(start + _AT_ONCE, len(missing))
            if now - last >= _BETWEEN_LINES or done == len(missing):
                cache.write(pending)
                vectors |= pending
                left = timedelta(seconds=round((now - begin) * (sizes[-1] / sizes[done - 1] - 1)))
                counts = f"{done:,} of {len(missing):,} texts"
                _log.info("text encoder %s: %s, %s left", self.name, counts, left)
                pending, last = {}, now
        return vectors

    def save(self, folder: Path) -> None:
        described = {"name": self.name, "fingerprint": self.fingerprint}
        self.path_in(folder).write_text(json.dumps(described, indent=2), encoding="utf-8")

    @staticmethod
    def path_in(folder: Path) -> Path:
        """The file in which a model folder names its sentence encoder."""
        return folder / "sentence_encoder.json"
