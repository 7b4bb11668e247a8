"""Vectors to codes, coarse to fine; what was learned is kept, so new items need no refit.

Knows nothing of items or identifiers: two vectors may get the same codes. What makes identifiers
of codes is `twofold.identifiers.semantic`.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, Self, get_args

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning

from twofold.encoders.vectors import Vectors
from twofold.identifiers.codebooks import k_means, residual_codes, without_empty
from twofold.identifiers.scheme import QuantizerName
from twofold.records import Floats, InputError, Ints

QUANTIZERS: tuple[QuantizerName, ...] = get_args(QuantizerName)

_FILE = "quantizer.safetensors"
_SAMPLE = 100_000
_DICTIONARY_SAMPLE = 20_000
_DICTIONARY_BATCH = 512
_DICTIONARY_STEPS = 400
_SPARSITY = 0.2
"""Weight of the absolute coefficients while atoms are learned, vectors being of unit length."""

_ROWS = 8192
"""Vectors encoded at once."""


class Quantizer(Protocol):
    """Codes of vectors.

    Attributes:
        name: of its kind.
        codebook_sizes: how many codes each of the C levels has.
    """

    name: ClassVar[QuantizerName]

    @property
    def codebook_sizes(self) -> tuple[int, ...]: ...

    @classmethod
    def fit(cls, vectors: Vectors, levels: int, codebook_size: int, seed: int) -> Self:
        """Learn codebooks from vectors, (N, D); one seed, machine and thread count, equal bits."""
        ...

    def encode(self, vectors: Vectors) -> Ints:
        """Codes, (M, C), of any vectors of the width that it was fitted on."""
        ...

    def tables(self) -> dict[str, Vectors]:
        """All that it has learned, by name."""
        ...

    @classmethod
    def restore(cls, tables: Mapping[str, Vectors]) -> Self:
        """The quantizer with these tables."""
        ...


def fit_quantizer(
    name: QuantizerName, vectors: Vectors, levels: int, codebook_size: int, seed: int = 0
) -> Quantizer:
    """Fit the quantizer of that name.

    Args:
        name: which.
        vectors: shape (N, D).
        levels: codes of a vector.
        codebook_size: codes of a level; the residual quantizers with learned codebooks keep
            fewer where the data have fewer distinct vectors.
        seed: of all that is drawn.

    Raises:
        InputError: the shape does not suit the quantizer or the vectors.
    """
    if name not in _KINDS:
        raise InputError(f"quantizer '{name}': there is {', '.join(QUANTIZERS)}")
    if not len(vectors):
        raise InputError(f"quantizer '{name}': there is no item to learn codes from")
    dense = np.ascontiguousarray(vectors, dtype=np.float32)
    return _KINDS[name].fit(dense, levels, codebook_size, seed)


def save_quantizer(quantizer: Quantizer, folder: Path) -> None:
    """Write its tables into a folder."""
    tables = {name: np.ascontiguousarray(t) for name, t in quantizer.tables().items()}
    save_file(tables, folder / _FILE, {"quantizer": quantizer.name})


def load_quantizer(folder: Path) -> Quantizer:
    """Read what `save_quantizer` wrote."""
    path = folder / _FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; make the identifiers again")
    with safe_open(path, "numpy") as file:
        name = file.metadata()["quantizer"]
    return _KINDS[name].restore(load_file(path))


class ResidualKMeans:
    """RQ-KMeans: each level k-means of what the levels before left over.

    Residual vector quantization (Chen, Guan and Wang, Sensors 2010); k-means by faiss.
    """

    name: ClassVar[QuantizerName] = "rq-kmeans"

    def __init__(self, codebooks: Sequence[Vectors]) -> None:
        self.codebooks = list(codebooks)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return tuple(len(codebook) for codebook in self.codebooks)

    @classmethod
    def fit(cls, vectors: Vectors, levels: int, codebook_size: int, seed: int) -> Self:
        rest = vectors.copy()
        codebooks = []
        for level in range(levels):
            codebook = k_means(rest, codebook_size, seed + level)
            rest -= codebook[residual_codes(rest, [codebook])[:, 0]]
            codebooks.append(codebook)
        return cls(codebooks)

    def encode(self, vectors: Vectors) -> Ints:
        return residual_codes(vectors, self.codebooks)

    def tables(self) -> dict[str, Vectors]:
        return _named(self.codebooks)

    @classmethod
    def restore(cls, tables: Mapping[str, Vectors]) -> Self:
        return cls(_ordered(tables))


class RqVae:
    """RQ-VAE: residual codes of what an autoencoder, trained together with them, makes of a vector.

    Lee et al., CVPR 2022; for items Rajput et al., NeurIPS 2023. Training is in `rq_vae`; the
    encoder is two dense layers, so that encoding is four lines of numpy.
    """

    name: ClassVar[QuantizerName] = "rq-vae"

    def __init__(self, encoder: Mapping[str, Vectors], codebooks: Sequence[Vectors]) -> None:
        self._encoder = dict(encoder)
        self.codebooks = list(codebooks)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return tuple(len(codebook) for codebook in self.codebooks)

    @classmethod
    def fit(cls, vectors: Vectors, levels: int, codebook_size: int, seed: int) -> Self:
        from twofold.identifiers.rq_vae import train_rq_vae

        encoder, codebooks = train_rq_vae(vectors, levels, codebook_size, seed)
        made = cls(encoder, [])
        rest = made.latent(vectors)
        for codebook in codebooks:
            made.codebooks.append(without_empty(codebook, rest))
            rest -= made.codebooks[-1][residual_codes(rest, made.codebooks[-1:])[:, 0]]
        return made

    def encode(self, vectors: Vectors) -> Ints:
        return residual_codes(self.latent(vectors), self.codebooks)

    def latent(self, vectors: Vectors) -> Vectors:
        """What the encoder makes of vectors, (N, width of the codebooks)."""
        return np.concatenate([self._latent(rows) for rows in _chunks(vectors)])

    def _latent(self, vectors: Floats) -> Vectors:
        weights = {name: table.astype(np.float64) for name, table in self._encoder.items()}
        hidden = vectors @ weights["hidden_weight"].T + weights["hidden_bias"]
        found = np.maximum(hidden, 0) @ weights["latent_weight"].T
        return np.asarray(found + weights["latent_bias"], dtype=np.float32)

    def tables(self) -> dict[str, Vectors]:
        return self._encoder | _named(self.codebooks)

    @classmethod
    def restore(cls, tables: Mapping[str, Vectors]) -> Self:
        encoder = {name: table for name, table in tables.items() if not name.startswith(_LEVEL)}
        return cls(encoder, _ordered(tables))


class ResidualLookupFree:
    """Residual LFQ: a level's code is the signs of the residual along its widest directions.

    Lookup-free quantization (Yu et al., ICLR 2024) has no codebook to search; here its projections
    are principal components, and what the signs say is taken off before the next level.
    """

    name: ClassVar[QuantizerName] = "residual-lfq"

    def __init__(self, means: Vectors, directions: Vectors, scales: Vectors) -> None:
        """Take means (C, D), directions (C, bits, D) and mean absolute projections (C, bits)."""
        self._means, self._directions, self._scales = means, directions, scales

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return (2 ** self._scales.shape[1],) * len(self._scales)

    @classmethod
    def fit(cls, vectors: Vectors, levels: int, codebook_size: int, seed: int) -> Self:
        bits = codebook_size.bit_length() - 1
        if codebook_size != 2**bits or not 1 <= bits <= vectors.shape[1]:
            raise InputError(
                f"quantizer '{cls.name}': a codebook of {codebook_size} codes for vectors of width "
                f"{vectors.shape[1]}; use a power of two, at most 2 to the width"
            )
        rest = _drawn(vectors, _SAMPLE, seed)
        means, directions, scales = [], [], []
        for _ in range(levels):
            means.append(rest.mean(axis=0, dtype=np.float64).astype(np.float32))
            rest = rest - means[-1]
            directions.append(_widest(rest, bits))
            along = rest @ directions[-1].T
            scales.append(np.abs(along).mean(axis=0))
            rest = rest - np.where(along > 0, scales[-1], -scales[-1]) @ directions[-1]
        return cls(np.stack(means), np.stack(directions), np.stack(scales))

    def encode(self, vectors: Vectors) -> Ints:
        return np.concatenate([self._encode(rows) for rows in _chunks(vectors)])

    def _encode(self, rest: Floats) -> Ints:
        codes = np.zeros((len(rest), len(self._means)), np.int64)
        powers = 2 ** np.arange(self._scales.shape[1])
        levels = zip(self._means, self._directions, self._scales, strict=True)
        for level, (mean, directions, scales) in enumerate(levels):
            rest = rest - mean
            signs = rest @ directions.T > 0  # [True, False, True] -> code 5
            codes[:, level] = signs @ powers
            rest = rest - np.where(signs, scales, -scales) @ directions
        return codes

    def tables(self) -> dict[str, Vectors]:
        return {"means": self._means, "directions": self._directions, "scales": self._scales}

    @classmethod
    def restore(cls, tables: Mapping[str, Vectors]) -> Self:
        return cls(**tables)


class SparseDictionary:
    """Dictionary learning: a vector is a sum of few atoms, its codes are which, strongest first.

    Atoms by scikit-learn (Mairal et al., ICML 2009), with coefficients above 0, since a code does
    not tell an atom from its negative. An item's are found by orthogonal matching pursuit (Pati et
    al., 1993), so that fewer levels are a prefix of more. All levels share the atoms, and no code
    comes twice in an identifier.
    """

    name: ClassVar[QuantizerName] = "dictionary"

    def __init__(self, atoms: Vectors, levels: int) -> None:
        self.atoms = atoms
        self._levels = levels

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return (len(self.atoms),) * self._levels

    @classmethod
    def fit(cls, vectors: Vectors, levels: int, codebook_size: int, seed: int) -> Self:
        if codebook_size < levels:
            raise InputError(
                f"quantizer '{cls.name}': {codebook_size} atoms for {levels} levels; a vector "
                f"names each atom once, so use at least as many"
            )
        known = _drawn(vectors[vectors.any(axis=1)], _DICTIONARY_SAMPLE, seed)
        if not len(known):
            return cls(np.zeros((codebook_size, vectors.shape[1]), np.float32), levels)
        lengths = np.linalg.norm(known, axis=1, keepdims=True)
        learner = MiniBatchDictionaryLearning(
            codebook_size,
            alpha=_SPARSITY,
            max_iter=-(-_DICTIONARY_STEPS // -(-len(known) // _DICTIONARY_BATCH)),
            batch_size=_DICTIONARY_BATCH,
            fit_algorithm="cd",
            positive_code=True,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # A step on sparse codes that are a millionth from their optimum is as good a step.
            warnings.simplefilter("ignore", ConvergenceWarning)
            atoms = learner.fit((known / lengths).astype(np.float64)).components_
        return cls(np.ascontiguousarray(atoms, dtype=np.float32), levels)

    def encode(self, vectors: Vectors) -> Ints:
        return np.concatenate([self._encode(rows) for rows in _chunks(vectors)])

    def _encode(self, vectors: Floats) -> Ints:
        codes = np.zeros((len(vectors), 0), np.int64)
        rest = vectors
        for level in range(self._levels):
            strengths = rest @ self.atoms.T
            np.put_along_axis(strengths, codes, -np.inf, axis=1)
            codes = np.hstack([codes, strengths.argmax(axis=1)[:, None]])
            if level < self._levels - 1:
                rest = vectors - self.reconstructed(vectors, codes)
        return codes

    def reconstructed(self, vectors: Floats, codes: Ints) -> Floats:
        """The nearest sums of the atoms that the codes name, (N, D)."""
        chosen = self.atoms[codes].astype(np.float64)  # (N, C, D)
        products = chosen @ chosen.transpose(0, 2, 1)
        products += 1e-6 * np.eye(codes.shape[1])  # two atoms may be alike
        weights = np.linalg.solve(products, chosen @ vectors[:, :, None])
        found: Floats = (weights * chosen).sum(axis=1)
        return found

    def tables(self) -> dict[str, Vectors]:
        return {"atoms": self.atoms, "levels": np.array([self._levels], np.float32)}

    @classmethod
    def restore(cls, tables: Mapping[str, Vectors]) -> Self:
        return cls(tables["atoms"], int(tables["levels"][0]))


_KINDS: dict[str, type[Quantizer]] = {
    kind.name: kind for kind in (ResidualKMeans, RqVae, ResidualLookupFree, SparseDictionary)
}

_LEVEL = "level_"


def _named(codebooks: Sequence[Vectors]) -> dict[str, Vectors]:
    return {f"{_LEVEL}{level}": codebook for level, codebook in enumerate(codebooks)}


def _ordered(tables: Mapping[str, Vectors]) -> list[Vectors]:
    levels = sum(name.startswith(_LEVEL) for name in tables)
    return [tables[f"{_LEVEL}{level}"] for level in range(levels)]


def _chunks(vectors: Vectors) -> Iterator[Floats]:
    """At most `_ROWS` rows at a time; no row once where there is none.

    Products in double precision round alike in any company: equal vectors get equal codes.
    """
    starts = range(0, max(len(vectors), 1), _ROWS)
    return (vectors[start : start + _ROWS].astype(np.float64) for start in starts)


def _drawn(vectors: Vectors, most: int, seed: int) -> Vectors:
    if len(vectors) <= most:
        return vectors
    rows = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
    return vectors[np.sort(rows)]


def _widest(centred: Vectors, number: int) -> Vectors:
    """The principal components of the largest variance, (number, D)."""
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return np.ascontiguousarray(axes[:, ::-1][:, :number].T, dtype=np.float32)
