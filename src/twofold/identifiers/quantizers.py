"""Quantizers: vectors to codes, coarse to fine.

They do not depend on items or identifiers, and two vectors may get the same codes;
`twofold.identifiers.semantic` turns the codes into identifiers. A quantizer is fitted on the
catalog's vectors and used once: items that are added after training get their codes in another way
(`twofold.additions`).

Shapes: N vectors, D width, C levels, K codes of a level.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Protocol, Self, get_args

import numpy as np
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning

from twofold.encoders.vectors import Vectors, principal_axes
from twofold.identifiers.codebooks import k_means, residual_codes, without_empty
from twofold.identifiers.identifiers import QuantizerName
from twofold.records import Floats, InputError, Ints

QUANTIZERS: tuple[QuantizerName, ...] = get_args(QuantizerName)

_SAMPLE = 100_000
"""The largest number of vectors from which principal components are computed."""
_DICTIONARY_SAMPLE = 20_000
"""The largest number of vectors from which atoms are learned."""
_DICTIONARY_BATCH = 512
_DICTIONARY_STEPS = 400
_SPARSITY = 0.2
"""The L1 penalty of coefficients while atoms are learned; vectors have unit length."""

_ROWS = 8192
"""The number of vectors that are encoded at once."""


class Quantizer(Protocol):
    """The protocol of a quantizer, which is fitted on vectors and maps vectors to codes.

    Attributes:
        name: its name in `fit_quantizer`.
        codebook_sizes: the number of codes of each of the C levels.
    """

    name: ClassVar[QuantizerName]

    @property
    def codebook_sizes(self) -> tuple[int, ...]: ...

    @classmethod
    def fit(cls, vectors: Vectors, levels: int, codebook_size: int, seed: int) -> Self:
        """Learn from vectors, (N, D); equal bits for one seed, machine and number of threads."""
        ...

    def encode(self, vectors: Vectors) -> Ints:
        """Codes, (M, C), of any vectors, (M, D), each independent of the others."""
        ...


def fit_quantizer(
    name: QuantizerName, vectors: Vectors, levels: int, codebook_size: int, seed: int = 0
) -> Quantizer:
    """Fit the quantizer of this name.

    Args:
        name: one of `QUANTIZERS`.
        vectors: (N, D).
        levels: C, the number of codes of a vector.
        codebook_size: K, the number of codes of a level; the residual quantizers with learned
            codebooks keep fewer if there are fewer distinct vectors.
        seed: the random seed.

    Raises:
        InputError: the quantizer does not support this shape, or there are too few vectors.
    """
    if name not in _KINDS:
        raise InputError(
            f"quantizer '{name}': no such quantizer; choose one of {', '.join(QUANTIZERS)}"
        )
    if not len(vectors):
        raise InputError(f"quantizer '{name}': there is no item to learn codes from")
    dense = np.ascontiguousarray(vectors, dtype=np.float32)
    return _KINDS[name].fit(dense, levels, codebook_size, seed)


class _LearnedCodebooks:
    """Residual quantization with a codebook of vectors for each level."""

    def __init__(self, codebooks: Sequence[Vectors]) -> None:
        self.codebooks = list(codebooks)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return tuple(len(codebook) for codebook in self.codebooks)


class ResidualKMeans(_LearnedCodebooks):
    """RQ-KMeans: at each level k-means of the residuals of the levels before.

    Residual vector quantization (Chen, Guan and Wang, Sensors 2010); k-means by faiss.
    """

    name: ClassVar[QuantizerName] = "rq-kmeans"

    @classmethod
    def fit(cls, vectors: Vectors, levels: int, codebook_size: int, seed: int) -> Self:
        residuals = vectors.copy()
        codebooks = []
        for level in range(levels):
            codebook = k_means(residuals, codebook_size, seed + level)
            residuals -= codebook[residual_codes(residuals, [codebook])[:, 0]]
            codebooks.append(codebook)
        return cls(codebooks)

    def encode(self, vectors: Vectors) -> Ints:
        return residual_codes(vectors, self.codebooks)


class RqVae(_LearnedCodebooks):
    """RQ-VAE: residual codes of an autoencoder's latent vectors, trained together with it.

    Lee et al., CVPR 2022; for items Rajput et al., NeurIPS 2023. `rq_vae` trains it; the encoder
    has two dense layers, so that encoding is four lines of numpy.
    """

    name: ClassVar[QuantizerName] = "rq-vae"

    def __init__(self, encoder: Mapping[str, Vectors], codebooks: Sequence[Vectors]) -> None:
        super().__init__(codebooks)
        self._encoder = dict(encoder)

    @classmethod
    def fit(cls, vectors: Vectors, levels: int, codebook_size: int, seed: int) -> Self:
        from twofold.identifiers.rq_vae import train_rq_vae

        encoder, codebooks = train_rq_vae(vectors, levels, codebook_size, seed)
        fitted = cls(encoder, [])
        residuals = fitted.latent(vectors)
        for codebook in codebooks:
            fitted.codebooks.append(without_empty(codebook, residuals))
            residuals -= fitted.codebooks[-1][
                residual_codes(residuals, fitted.codebooks[-1:])[:, 0]
            ]
        return fitted

    def encode(self, vectors: Vectors) -> Ints:
        return residual_codes(self.latent(vectors), self.codebooks)

    def latent(self, vectors: Vectors) -> Vectors:
        """The encoder's latent vectors, (N, width of the codebooks)."""
        return np.concatenate([self._latent(rows) for rows in _chunks(vectors)])

    def _latent(self, vectors: Floats) -> Vectors:
        weights = {name: table.astype(np.float64) for name, table in self._encoder.items()}
        hidden = vectors @ weights["hidden_weight"].T + weights["hidden_bias"]
        latent = np.maximum(hidden, 0) @ weights["latent_weight"].T
        return np.asarray(latent + weights["latent_bias"], dtype=np.float32)


class ResidualLookupFree:
    """Residual LFQ: a level's code is the signs of the residual along its principal components.

    Lookup-free quantization (Yu et al., ICLR 2024) has no codebook to search. Here its projections
    are principal components, and the vector that the signs represent is subtracted before the next
    level.
    """

    name: ClassVar[QuantizerName] = "residual-lfq"

    def __init__(self, means: Vectors, directions: Vectors, scales: Vectors) -> None:
        """Keep means (C, D), directions (C, bits, D) and mean absolute projections (C, bits)."""
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
        residuals = _drawn(vectors, _SAMPLE, seed)
        means, directions, scales = [], [], []
        for _ in range(levels):
            means.append(residuals.mean(axis=0, dtype=np.float64).astype(np.float32))
            residuals = residuals - means[-1]
            axes = principal_axes(residuals, bits).T
            directions.append(np.ascontiguousarray(axes, dtype=np.float32))
            along = residuals @ directions[-1].T
            scales.append(np.abs(along).mean(axis=0))
            residuals = residuals - np.where(along > 0, scales[-1], -scales[-1]) @ directions[-1]
        return cls(np.stack(means), np.stack(directions), np.stack(scales))

    def encode(self, vectors: Vectors) -> Ints:
        return np.concatenate([self._encode(rows) for rows in _chunks(vectors)])

    def _encode(self, residuals: Floats) -> Ints:
        codes = np.zeros((len(residuals), len(self._means)), np.int64)
        powers = 2 ** np.arange(self._scales.shape[1])
        levels = zip(self._means, self._directions, self._scales, strict=True)
        for level, (mean, directions, scales) in enumerate(levels):
            residuals = residuals - mean
            signs = residuals @ directions.T > 0  # [True, False, True] -> code 5
            codes[:, level] = signs @ powers
            residuals = residuals - np.where(signs, scales, -scales) @ directions
        return codes


class SparseDictionary:
    """Dictionary learning: a vector is a sum of few atoms; its codes are these atoms, strongest
    first.

    scikit-learn learns the atoms (Mairal et al., ICML 2009) with positive coefficients, since a
    code cannot distinguish an atom from its negative. Orthogonal matching pursuit (Pati et al.,
    1993) chooses the atoms of a vector, so codes with fewer levels are prefixes of those with more.
    All levels share the atoms, and no code occurs twice in an identifier.
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
        sample = _drawn(vectors[vectors.any(axis=1)], _DICTIONARY_SAMPLE, seed)
        if not len(sample):
            return cls(np.zeros((codebook_size, vectors.shape[1]), np.float32), levels)
        lengths = np.linalg.norm(sample, axis=1, keepdims=True)
        learner = MiniBatchDictionaryLearning(
            codebook_size,
            alpha=_SPARSITY,
            max_iter=-(-_DICTIONARY_STEPS // -(-len(sample) // _DICTIONARY_BATCH)),
            batch_size=_DICTIONARY_BATCH,
            fit_algorithm="cd",
            positive_code=True,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # Sparse codes within a millionth of their optimum are accurate enough for a step.
            warnings.simplefilter("ignore", ConvergenceWarning)
            atoms = learner.fit((sample / lengths).astype(np.float64)).components_
        return cls(np.ascontiguousarray(atoms, dtype=np.float32), levels)

    def encode(self, vectors: Vectors) -> Ints:
        return np.concatenate([self._encode(rows) for rows in _chunks(vectors)])

    def _encode(self, vectors: Floats) -> Ints:
        codes = np.zeros((len(vectors), 0), np.int64)
        residuals = vectors
        for level in range(self._levels):
            strengths = residuals @ self.atoms.T
            np.put_along_axis(strengths, codes, -np.inf, axis=1)
            codes = np.hstack([codes, strengths.argmax(axis=1)[:, None]])
            if level < self._levels - 1:
                residuals = vectors - self.reconstructed(vectors, codes)
        return codes

    def reconstructed(self, vectors: Floats, codes: Ints) -> Floats:
        """The sums of the atoms of the codes that are nearest to the vectors, (N, D)."""
        chosen = self.atoms[codes].astype(np.float64)  # (N, C, D)
        products = chosen @ chosen.transpose(0, 2, 1)
        products += 1e-6 * np.eye(codes.shape[1])  # two atoms may be equal
        weights = np.linalg.solve(products, chosen @ vectors[:, :, None])
        sums: Floats = (weights * chosen).sum(axis=1)
        return sums


def _chunks(vectors: Vectors) -> Iterator[Floats]:
    """At most `_ROWS` rows at a time, in double precision; one empty chunk of no rows.

    Products in double precision are rounded in the same way whatever the other rows are, so equal
    vectors get equal codes.
    """
    starts = range(0, max(len(vectors), 1), _ROWS)
    return (vectors[start : start + _ROWS].astype(np.float64) for start in starts)


def _drawn(vectors: Vectors, most: int, seed: int) -> Vectors:
    """At most `most` of the vectors, sampled without replacement, in their order."""
    if len(vectors) <= most:
        return vectors
    rows = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
    return vectors[np.sort(rows)]


_KINDS: dict[str, type[Quantizer]] = {
    kind.name: kind for kind in (ResidualKMeans, RqVae, ResidualLookupFree, SparseDictionary)
}
"""Every quantizer by its name."""
