"""Decoding steps of many hypotheses of one request, which share its keys and values.

The hypotheses of a step are positions of one sequence, side by side, and the attention mask lets
each see the request and its own ancestors (tree attention): no cache is copied for a beam, or
moved when beams are reordered.

Shapes: B requests, K hypotheses of a step, W hypotheses of all steps so far, S tokens of the
request, H heads, D width.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch.nn import functional as F

from twofold.model.backbone import Backbone, Decoder
from twofold.model.encoded import Batch
from twofold.model.t5 import EncoderDecoder


class Steps(ABC):
    """The states of growing hypotheses for a batch of requests."""

    @abstractmethod
    def first(self) -> torch.Tensor:
        """The state that generates the first code, (B, D), float32."""

    @abstractmethod
    def next(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        """The states of the hypotheses after one more code, (B, K, D), float32.

        Args:
            tokens: (B, K), the token ids of the codes.
            parents: (B, K), the index of each hypothesis's parent in the step before.
        """


def steps_of(backbone: Backbone, batch: Batch, codes: int, beams: int) -> Steps:
    """The decoding steps of a backbone's family.

    Args:
        backbone: in evaluation mode.
        batch: requests without targets.
        codes: the most calls of `next`.
        beams: the most hypotheses of a step.
    """
    if isinstance(backbone, EncoderDecoder):
        return EncoderDecoderSteps(backbone, batch, codes, beams)
    assert isinstance(backbone, Decoder)
    return DecoderSteps(backbone, batch)


class Ancestors:
    """The positions of each hypothesis's ancestors among the hypotheses of all steps."""

    def __init__(self) -> None:
        self._positions: list[torch.Tensor] = []
        self.width = 0
        """W, the hypotheses of all steps so far."""

    def mask(self, parents: torch.Tensor) -> torch.Tensor:
        """Which positions each of the new hypotheses sees, itself included, (B, K, W)."""
        rows, beams = parents.shape
        inherited = [step.gather(1, parents) for step in self._positions]
        new = self.width + torch.arange(beams, device=parents.device).expand(rows, beams)
        self._positions = [*inherited, new]
        self.width += beams
        seen = torch.zeros(rows, beams, self.width, dtype=torch.bool, device=parents.device)
        return seen.scatter_(2, torch.stack(self._positions, dim=2), True)


class DecoderSteps(Steps):
    """Steps of any causal model: hypotheses follow the request as positions."""

    def __init__(self, backbone: Decoder, batch: Batch) -> None:
        self._backbone = backbone
        self._embed = backbone.model.get_input_embeddings()
        self._cache = backbone.new_cache()
        self._lengths = batch.lengths
        states = backbone.extend(backbone.inputs(batch), self._cache)
        rows = torch.arange(len(batch.lengths), device=batch.lengths.device)
        self._first = backbone.timed(states[rows, batch.lengths - 1], batch.time_buckets)
        self._time_buckets = batch.time_buckets[:, None]
        places = torch.arange(batch.tokens.shape[1], device=rows.device)
        self._request = places < batch.lengths[:, None]
        self._ancestors = Ancestors()
        self._step = 0

    def first(self) -> torch.Tensor:
        return self._first

    def next(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        rows, beams = tokens.shape
        ancestors = self._ancestors.mask(parents)
        seen = torch.cat([self._request[:, None].expand(-1, beams, -1), ancestors], dim=2)
        embedded = self._embed(tokens)
        # An additive mask: models whose attention is not torch's do not read a boolean one.
        mask = torch.zeros(seen.shape, dtype=embedded.dtype, device=seen.device)
        mask.masked_fill_(~seen, torch.finfo(embedded.dtype).min)
        positions = (self._lengths + self._step)[:, None].expand(rows, beams)
        self._step += 1
        states = self._backbone.extend(embedded, self._cache, mask[:, None], positions)
        return self._backbone.timed(states, self._time_buckets)


class EncoderDecoderSteps(Steps):
    """Steps of T5's decoder, with the weights of the transformers model.

    T5's own forward pass computes positions from the place in the sequence, so hypotheses that are
    side by side need our forward pass.
    """

    def __init__(self, backbone: EncoderDecoder, batch: Batch, codes: int, beams: int) -> None:
        self._timed, self._time_buckets = backbone.timed, batch.time_buckets[:, None]
        decoder = backbone.model.get_decoder()
        config = backbone.model.config
        self._heads, self._scale = config.num_heads, backbone.output_scale
        self._embed, self._last = decoder.embed_tokens, decoder.final_layer_norm
        self._start = config.decoder_start_token_id
        encoded, mask = backbone.encoded(batch)
        self._rows, self._device = len(encoded), encoded.device
        self._hidden = torch.zeros(mask.shape, dtype=encoded.dtype, device=encoded.device)
        self._hidden.masked_fill_(mask == 0, torch.finfo(encoded.dtype).min)
        self._layers = [
            _Layer(block, encoded, self._heads, 1 + codes * beams) for block in decoder.block
        ]
        attention = decoder.block[0].layer[0].SelfAttention
        self._bias: torch.Tensor = attention.compute_bias(codes + 1, codes + 1)[0]
        self._ancestors = Ancestors()
        self._steps: list[int] = []  # the step of each of the W hypotheses

    def first(self) -> torch.Tensor:
        parents = torch.zeros(self._rows, 1, dtype=torch.long, device=self._device)
        return self.next(torch.full_like(parents, self._start), parents)[:, 0]

    def next(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        step = self._steps[-1] + 1 if self._steps else 0
        start = self._ancestors.width
        seen = self._ancestors.mask(parents)
        self._steps += [step] * tokens.shape[1]
        bias = self._bias[:, step, self._steps]  # (H, W)
        states = self._embed(tokens)
        hidden = torch.finfo(bias.dtype).min
        mask = torch.where(seen[:, None], bias[None, :, None], hidden).to(states.dtype)
        for layer in self._layers:
            states = layer(states, mask, self._hidden[:, None, None], start)
        return self._timed(self._last(states).float() * self._scale, self._time_buckets)


class _Layer:
    """One block of T5's decoder over hypotheses.

    Args:
        block: the transformers block, with the weights.
        encoded: the encoder's states of the requests, (B, S, D); their keys and values are
            computed once.
        heads: the number of attention heads.
        hypotheses: the most hypotheses of all steps together.
    """

    def __init__(self, block: Any, encoded: torch.Tensor, heads: int, hypotheses: int) -> None:
        self._own, self._cross, self._feed_forward = block.layer
        self._heads = heads
        request = self._cross.EncDecAttention
        self._keys = self._split(request.k(encoded))
        self._values = self._split(request.v(encoded))
        rows, _, _, width = self._keys.shape
        self._cache = self._keys.new_empty(2, rows, heads, hypotheses, width)

    def __call__(
        self, states: torch.Tensor, mask: torch.Tensor, hidden: torch.Tensor, start: int
    ) -> torch.Tensor:
        attention, normed = self._own.SelfAttention, self._own.layer_norm(states)
        stop = start + states.shape[1]
        self._cache[0, :, :, start:stop] = self._split(attention.k(normed))
        self._cache[1, :, :, start:stop] = self._split(attention.v(normed))
        keys, values = self._cache[:, :, :, :stop]
        states = states + self._attend(attention, normed, keys, values, mask)
        request, normed = self._cross.EncDecAttention, self._cross.layer_norm(states)
        states = states + self._attend(request, normed, self._keys, self._values, hidden)
        dense, norm = self._feed_forward.DenseReluDense, self._feed_forward.layer_norm
        output: torch.Tensor = states + dense(norm(states))
        return output

    def _attend(
        self,
        attention: Any,
        states: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        queries = self._split(attention.q(states))
        # T5 folds the usual 1 / sqrt(d) into its weights.
        mixed = F.scaled_dot_product_attention(queries, keys, values, mask, scale=1.0)
        output: torch.Tensor = attention.o(mixed.transpose(1, 2).flatten(2))
        return output

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        """(B, L, H x d) -> (B, H, L, d)."""
        rows, length, _ = states.shape
        return states.view(rows, length, self._heads, -1).transpose(1, 2)
