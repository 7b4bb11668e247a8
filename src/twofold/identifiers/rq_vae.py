"""Training of an RQ-VAE: reconstruction, commitment, and a restart of unused codes.

Codebooks are initialised by k-means of the first latent vectors (Rajput et al., NeurIPS 2023, 3.1),
and unused codes restart at residuals of the batch (Zeghidour et al., SoundStream, 2021): both
prevent codebook collapse.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from twofold.encoders.vectors import Vectors
from twofold.identifiers.codebooks import k_means, residual_codes

STEPS = 2000
_HIDDEN = 256
_LATENT = 32
_BATCH = 1024
_RATE = 1e-3
_COMMITMENT = 0.25
_IDLE_STEPS = 100
"""A code restarts when no vector had it for this many steps."""
_INITIAL = 20_000
"""The number of latent vectors from which codebooks are initialised."""


def train_rq_vae(
    vectors: Vectors, levels: int, codebook_size: int, seed: int
) -> tuple[dict[str, Vectors], list[Vectors]]:
    """The encoder's weights, which include the scaling of vectors, and the codebooks.

    Args:
        vectors: (N, D).
        levels, codebook_size, seed: see `quantizers.fit_quantizer`.
    """
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = float(vectors.std(dtype=np.float64)) or 1.0
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _Autoencoder(vectors.shape[1])

    def batch(size: int) -> torch.Tensor:
        rows = rng.integers(len(vectors), size=min(size, len(vectors)))
        return torch.from_numpy((vectors[rows] - mean) / scale)

    with torch.no_grad():
        model.start(model.encode(batch(_INITIAL)).numpy(), levels, codebook_size, seed)
    _train(model, batch, rng)
    return model.folded(mean, scale), [book.detach().numpy() for book in model.codebooks]


class _LevelBatch(NamedTuple):
    """The residuals (B, _LATENT) of a batch at one level, and their codes (B,)."""

    residuals: torch.Tensor
    codes: torch.Tensor


class _Autoencoder(nn.Module):
    """Two dense layers each way, and the codebooks between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.latent = nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, _LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(_LATENT, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, width)
        )
        self.codebooks = nn.ParameterList()

    def encode(self, vectors: torch.Tensor) -> torch.Tensor:
        latent: torch.Tensor = self.latent(F.relu(self.hidden(vectors)))
        return latent

    def start(self, latent: Vectors, levels: int, size: int, seed: int) -> None:
        """Initialise codebooks by residual k-means; rows without a centroid are random."""
        for level in range(levels):
            centroids = k_means(latent, size, seed + level)
            latent = latent - centroids[residual_codes(latent, [centroids])[:, 0]]
            random = np.random.default_rng([seed, level]).normal(
                scale=float(centroids.std()) or 1.0, size=(size - len(centroids), _LATENT)
            )
            rows = np.vstack([centroids, random]).astype(np.float32)
            self.codebooks.append(nn.Parameter(torch.from_numpy(rows)))

    def loss(self, vectors: torch.Tensor) -> tuple[torch.Tensor, list[_LevelBatch]]:
        """The loss of a batch, (B, D), and the residuals and codes at each level."""
        latent = self.encode(vectors)
        residuals, quantized = latent, torch.zeros_like(latent)
        loss, levels = latent.new_zeros(()), []
        for codebook in self.codebooks:
            rows = torch.cdist(residuals.detach(), codebook.detach()).argmin(dim=1)
            levels.append(_LevelBatch(residuals.detach(), rows))
            chosen = codebook[rows]
            loss = loss + F.mse_loss(chosen, residuals.detach())
            loss = loss + _COMMITMENT * F.mse_loss(residuals, chosen.detach())
            quantized, residuals = quantized + chosen, residuals - chosen.detach()
        # Straight-through estimator: the decoder reads the codes' rows, the encoder gets its
        # gradient.
        straight = latent + (quantized - latent).detach()
        return loss + F.mse_loss(self.decoder(straight), vectors), levels

    def folded(self, mean: Vectors, scale: float) -> dict[str, Vectors]:
        """The encoder's weights with centring and scaling folded in."""
        weight = self.hidden.weight.detach().numpy() / scale
        return {
            "hidden_weight": weight.astype(np.float32),
            "hidden_bias": (self.hidden.bias.detach().numpy() - weight @ mean).astype(np.float32),
            "latent_weight": self.latent.weight.detach().numpy(),
            "latent_bias": self.latent.bias.detach().numpy(),
        }


def _train(
    model: _Autoencoder, batch: Callable[[int], torch.Tensor], rng: np.random.Generator
) -> None:
    """Train in place; codes that were not used for a while are restarted."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.0)
    used = [torch.zeros(len(codebook), dtype=torch.bool) for codebook in model.codebooks]
    for step in range(1, STEPS + 1):
        loss, levels = model.loss(batch(_BATCH))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for codebook, level, alive in zip(model.codebooks, levels, used, strict=True):
            alive[level.codes] = True
            if step % _IDLE_STEPS == 0:
                _restart(codebook, ~alive, level.residuals, rng)
                alive[:] = False


@torch.no_grad()
def _restart(
    codebook: torch.Tensor, idle: torch.Tensor, residuals: torch.Tensor, rng: np.random.Generator
) -> None:
    """Move unused codes to residuals drawn from the batch."""
    drawn = rng.integers(len(residuals), size=int(idle.sum()))
    codebook[idle] = residuals[torch.from_numpy(drawn)]
