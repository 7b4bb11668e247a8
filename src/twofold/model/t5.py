"""T5-family models as a backbone: the encoder reads the request, the decoder writes an identifier.

In training, the layers, dropout and attention of a transformers T5 are replaced by faster ones that
compute the same. The parameters and their names stay the same.

Shapes: B requests, L tokens, S tokens that are attended to, H heads, d width of a head, D width of
the model.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from twofold.model.backbone import Backbone
from twofold.model.encoded import Batch
from twofold.model.kernels import dropout_mask, linear

if TYPE_CHECKING:
    # Imported where it is used, as a decoder from fresh weights needs no transformers.
    from transformers import PreTrainedModel

    from twofold.model.vocabulary import Vocabulary


class EncoderDecoder(Backbone):
    """A T5-family model: the encoder reads the request, the decoder writes one identifier."""

    contexts_per_sequence = 1

    def __init__(self, model: "PreTrainedModel", vocabulary: "Vocabulary") -> None:
        from transformers.activations import NewGELUActivation

        super().__init__(model, vocabulary)
        for module in model.modules():
            # torch's GELU is the same function and reads memory once instead of eight times.
            if isinstance(getattr(module, "act", None), NewGELUActivation):
                module.act = nn.GELU(approximate="tanh")
            # Our own classes have the same weights under the same names.
            elif type(module) is nn.Linear:
                module.__class__ = Linear
            elif type(module) is nn.Dropout:
                module.__class__ = Dropout
        _attend_faster(model)

    def read(self, batch: Batch) -> torch.Tensor:
        encoded, mask = self.encoded(batch)
        steps = batch.context_positions - (batch.lengths - 1)[batch.context_rows]
        written = torch.arange(int(steps.max()), device=steps.device)
        places = (batch.lengths[:, None] + written).clamp(max=batch.tokens.shape[1] - 1)
        start = self.model.config.decoder_start_token_id
        first = torch.full_like(batch.tokens[:, :1], start)
        hidden = self.model.get_decoder()(
            input_ids=torch.cat([first, batch.tokens.gather(1, places)], dim=1),
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            use_cache=False,
        )
        states: torch.Tensor = hidden.last_hidden_state[batch.context_rows, steps].float()
        return states * self.output_scale

    def encoded(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's states of the requests, (B, S, D), and their attention mask, (B, S)."""
        # A request is read with its padding; a training example without its answer.
        longest = int(batch.lengths.max()) if len(batch.targets) else batch.tokens.shape[1]
        places = torch.arange(longest, device=batch.tokens.device)
        mask = (places < batch.lengths[:, None]).long()
        embedded = self.inputs(batch)[:, :longest]
        encoded = self.model.get_encoder()(inputs_embeds=embedded, attention_mask=mask)
        return encoded.last_hidden_state, mask

    @property
    def output_scale(self) -> float:
        """The factor by which T5 scales its last hidden states."""
        config = self.model.config
        scales = getattr(config, "scale_decoder_outputs", False)
        return float(config.d_model**-0.5) if scales else 1.0


_ATTENTION = "twofold"
"""The name under which our attention is registered in transformers."""


def _attend_faster(model: "PreTrainedModel") -> None:
    """Let a T5 train with `biased_attention`; other models, and inference, keep torch's kernel."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.t5 import modeling_t5

    has_bias = hasattr(modeling_t5, "eager_attention_forward")
    if not isinstance(model, modeling_t5.T5PreTrainedModel) or not has_bias:
        return
    plain = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attend(
        module: Any, queries: Any, keys: Any, values: Any, seen: Any, **given: Any
    ) -> tuple[torch.Tensor, None]:
        bias = given["position_bias"]
        if not module.training or (seen is not None and seen.dtype != torch.bool):
            attended, _ = plain(module, queries, keys, values, seen, **given)
            return attended, None
        if seen is None and module.is_causal and queries.shape[2] > 1:
            seen = queries.new_ones(queries.shape[2], keys.shape[2], dtype=torch.bool).tril()
        attended = biased_attention(queries, keys, values, bias, seen, given["dropout"])
        return attended.transpose(1, 2).contiguous(), None

    AttentionInterface.register(_ATTENTION, attend)
    AttentionMaskInterface.register(_ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(_ATTENTION)


class Linear(nn.Linear):
    """A linear layer of a transformers model that multiplies with oneDNN in training."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        plain = torch.is_autocast_enabled(states.device.type) or self.bias is not None
        if plain or not self.training:
            return super().forward(states)
        return linear(states, self.weight)


class Dropout(nn.Dropout):
    """Dropout with masks from `dropout_mask`."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p:
            return states
        return states * dropout_mask(states, self.p).to(states.dtype)


class _BiasedAttention(torch.autograd.Function):
    """Saves the attention weights for the backward pass, instead of computing them again."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        bias: torch.Tensor,
        hidden: torch.Tensor | None,
        rate: float,
    ) -> torch.Tensor:
        scores = (queries @ keys.transpose(2, 3)).float().add_(bias)
        if hidden is not None:
            scores.masked_fill_(hidden, torch.finfo(torch.float32).min)
        weights = torch.softmax(scores, dim=-1)
        mask = dropout_mask(weights, rate) if rate else None
        ctx.save_for_backward(queries, keys, values, weights, mask)
        kept = weights if mask is None else weights * mask
        return kept.to(values.dtype) @ values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, weights, mask = ctx.saved_tensors
        kept = weights if mask is None else weights * mask
        grad_values = kept.to(grad.dtype).transpose(2, 3) @ grad
        grad_weights = (grad @ values.transpose(2, 3)).float()
        if mask is not None:
            grad_weights.mul_(mask)
        # The backward pass of softmax: w * (g - sum(w * g)).
        weighted = grad_weights.mul_(weights)
        grad_scores = weighted.sub_(weights * weighted.sum(dim=-1, keepdim=True))
        grad_bias = grad_scores.sum(dim=0, keepdim=True) if ctx.needs_input_grad[3] else None
        grad_scores = grad_scores.to(queries.dtype)
        grad_queries, grad_keys = grad_scores @ keys, grad_scores.transpose(2, 3) @ queries
        return grad_queries, grad_keys, grad_values, grad_bias, None, None


def biased_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor,
    seen: torch.Tensor | None,
    rate: float,
) -> torch.Tensor:
    """Attention whose scores have a bias for each distance, as T5's.

    Args:
        queries: (B, H, L, d).
        keys, values: (B, H, S, d), in the precision of the queries; the softmax is in float32.
        bias: added to the scores, (1, H, L, S), float32.
        seen: which keys each query attends to, broadcast to (B, H, L, S); None for all.
        rate: the dropout rate of the attention weights.

    Returns:
        (B, H, L, d), in the precision of the values.
    """
    hidden = None if seen is None else ~seen
    attended: torch.Tensor = _BiasedAttention.apply(  # type: ignore[no-untyped-call]
        queries, keys, values, bias.float(), hidden, rate
    )
    return attended
