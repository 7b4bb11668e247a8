"""Sentence embeddings on disk, so that a text is encoded once on a machine: not again by the next
worker, evaluation or study, nor after an interruption."""

import hashlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.records import InputError

_log = logging.getLogger(__name__)

Embedding = npt.NDArray[np.float32]


class EmbeddingCache:
    """The embeddings of one encoder, in Parquet files that are never changed once written.

    So processes need no lock, also on a network file system. Texts are stored by hash alone.

    Args:
        folder: the folder of the encoder, that is, of everything that an embedding depends on.
        width: E, the length of an embedding.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self._schema = pl.Schema({"text": pl.Binary(), "embedding": pl.Array(pl.Float32, width)})
        self._is_writable = True

    def read(self, texts: Sequence[str]) -> dict[str, Embedding]:
        """The embeddings, (E,) each, of those texts that have one.

        Raises:
            InputError: a file in the folder is broken.
        """
        files = sorted(self.folder.glob("*.parquet"))
        if not files:
            return {}
        by_hash = {_hash(text): text for text in texts}
        wanted = pl.LazyFrame({"text": list(by_hash)}, schema={"text": pl.Binary})
        try:
            stored = pl.scan_parquet(files, schema=self._schema).join(wanted, on="text", how="semi")
            frame = stored.collect()
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"{self.folder}: its embeddings cannot be read; delete the folder, and texts are "
                f"encoded again ({str(error).splitlines()[0]})"
            ) from error
        texts_read = [by_hash[key] for key in frame["text"]]
        return dict(zip(texts_read, frame["embedding"].to_numpy(), strict=True))

    def write(self, embeddings: Mapping[str, Embedding]) -> None:
        """Add the embeddings of texts; a full or read-only disk is logged once."""
        if not self._is_writable:
            return
        hashes = [_hash(text) for text in embeddings]
        columns = {"text": hashes, "embedding": list(embeddings.values())}
        path = self.folder / f"{uuid.uuid4().hex}.parquet"
        partial = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Floats of an embedding do not compress.
            pl.DataFrame(columns, schema=self._schema).write_parquet(
                partial, compression="uncompressed"
            )
            partial.rename(path)
        except (OSError, pl.exceptions.PolarsError) as error:  # polars has its own for a full disk
            self._is_writable = False
            with suppress(OSError):
                partial.unlink()
            _log.warning("%s: embeddings are not cached (%s)", self.folder, error)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
