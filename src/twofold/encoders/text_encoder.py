"""Text encoders by name, and how a model folder stores them."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twofold.artifact import read_json
from twofold.encoders.tfidf import TfidfEncoder
from twofold.encoders.vectors import TextEncoder, Vectors, unit
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.encoders.sentence import SentenceEncoder

_AND_TFIDF = "tfidf+"
"""Before the name of a sentence encoder: both encoders."""


class WordsAndSentence:
    """Both encoders' vectors concatenated, so that a cosine is the mean of the two cosines."""

    def __init__(self, words: TfidfEncoder, sentence: "SentenceEncoder") -> None:
        self._parts: tuple[TextEncoder, TextEncoder] = words, sentence
        self.sentence = sentence
        self.width = words.width + sentence.width

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `TextEncoder`."""
        return unit(np.hstack([part.encode(texts) for part in self._parts]))

    def save(self, folder: Path) -> None:
        for part in self._parts:
            part.save(folder)


def resolve_encoder(name: str, items: Sequence[str], queries: Sequence[str]) -> TextEncoder | None:
    """The encoder of a name, to train with.

    Args:
        name: `tfidf`, which is fitted on the texts; the name or folder of a sentence-transformers
            model; `tfidf+` and such a name for both; `none`; `auto` for tfidf if there are enough
            words, else none.
        items: the items' texts.
        queries: the arm's training queries.

    Raises:
        InputError: there is no text to fit the encoder on, or no such model.
    """
    if name == "none":
        return None
    if name == "auto":
        with suppress(InputError):
            return _fit(items, queries)
        return None
    if name == "tfidf":
        return _fit(items, queries)
    sentence = _load_sentence_encoder(name.removeprefix(_AND_TFIDF))
    if name.startswith(_AND_TFIDF):
        return WordsAndSentence(_fit(items, queries), sentence)
    return sentence


def encode_ahead(name: str, texts: Sequence[str]) -> None:
    """Cache the sentence embeddings of texts on disk, before several processes need them.

    So each text is encoded once, and its embedding has the same bits in all processes.

    Args:
        name: the name of an encoder, as in `resolve_encoder`; without a sentence encoder in it,
            nothing happens.
        texts: all texts of a dataset.
    """
    sentence = name.removeprefix(_AND_TFIDF)
    if sentence not in ("none", "auto", "tfidf"):
        _load_sentence_encoder(sentence).encode(texts)


def sentence_encoder_of(encoder: TextEncoder | None) -> "SentenceEncoder | None":
    """The sentence encoder that an encoder is or contains (its attribute `sentence`), if any."""
    return getattr(encoder, "sentence", None)


def sentence_vectors(encoder: TextEncoder | None, vectors: Vectors) -> Vectors | None:
    """The sentence encoder's part of an encoder's vectors, (N, width of the sentence encoder).

    Args:
        encoder: the encoder that made the vectors.
        vectors: its vectors of some texts, (N, E).

    Returns:
        unit vectors, or None if the encoder contains no sentence encoder.
    """
    sentence = sentence_encoder_of(encoder)
    return None if sentence is None else unit(vectors[:, -sentence.width :].astype(np.float32))


def load_encoder(folder: Path) -> TextEncoder | None:
    """The encoder that the model of a folder was trained with, if any.

    Raises:
        InputError: the sentence encoder cannot be found, or has changed.
    """
    from twofold.encoders.sentence import SentenceEncoder

    words = TfidfEncoder.restore(folder) if TfidfEncoder.is_in(folder) else None
    path = SentenceEncoder.path_in(folder)
    if not path.is_file():
        return words
    described = read_json(path)
    sentence = SentenceEncoder.load(described["name"])
    if sentence.fingerprint != described["fingerprint"]:
        raise InputError(
            f"{folder}: was trained with another text encoder than {described['name']} holds now; "
            f"restore that one, or train again"
        )
    return WordsAndSentence(words, sentence) if words else sentence


def _fit(items: Sequence[str], queries: Sequence[str]) -> TfidfEncoder:
    return TfidfEncoder.fit([*items, *queries])


def _load_sentence_encoder(name: str) -> "SentenceEncoder":
    # Imported here, as most trainings have no sentence encoder.
    from twofold.encoders.sentence import SentenceEncoder

    return SentenceEncoder.load(name)
