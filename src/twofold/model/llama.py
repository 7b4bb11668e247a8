"""A compact Llama: the parameters, files and outputs of transformers' Llama, without its imports.

Invariant: transformers loads what `Llama.save_pretrained` writes as an ordinary
`LlamaForCausalLM`, whose outputs are the same.

Shapes: B sequences, L tokens, S tokens before them in the cache, D width, P places.
"""

import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from twofold.model.kernels import (
    PackedLinear,
    Padding,
    Rotation,
    add_dropped,
    causal_attention,
    gated_silu,
    linear,
    rms_norm,
)

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_PLAIN = {
    "attention_bias": False,
    "hidden_act": "silu",
    "mlp_bias": False,
    "model_type": "llama",
    "rope_scaling": None,
    "quantization_config": None,
}
"""The values that a configuration must have, or leave out, for this implementation."""


@dataclass(slots=True)
class LlamaConfig:
    """The shape of a model; the names are those of transformers' `LlamaConfig`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    pad_token_id: int | None = None
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0

    @property
    def head_dim(self) -> int:
        """d, the width of an attention head."""
        return self.hidden_size // self.num_attention_heads

    @staticmethod
    def read(folder: Path) -> "LlamaConfig | None":
        """The configuration of a checkpoint; None if this implementation does not support it.

        Not supported are other models than Llama, grouped-query attention, biases, scaled rotary
        positions and untied output embeddings.
        """
        written = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        if any(written.get(key, value) != value for key, value in _PLAIN.items()):
            return None
        rope = written.get("rope_parameters") or {}
        theta = rope.get("rope_theta", written.get("rope_theta", 10_000.0))
        settings = {**written, "rope_theta": theta}
        names = [field.name for field in fields(LlamaConfig)]
        config = LlamaConfig(**{name: settings[name] for name in names if name in settings})
        rewritten = config.written()
        required = ("num_key_value_heads", "head_dim", "tie_word_embeddings")
        fits = all(written.get(name) == rewritten[name] for name in required)
        return config if fits and rope.get("rope_type", "default") == "default" else None

    def written(self) -> dict[str, Any]:
        """The content of `config.json`."""
        settings = asdict(self)
        theta = settings.pop("rope_theta")
        return {
            **{key: value for key, value in _PLAIN.items() if value is not None},
            **settings,
            "architectures": ["LlamaForCausalLM"],
            "bos_token_id": None,
            "dtype": "float32",
            "eos_token_id": None,
            "head_dim": self.head_dim,
            "num_key_value_heads": self.num_attention_heads,
            "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
            "tie_word_embeddings": True,
        }


Cache = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each block, (B, H, S, d); empty before the first call."""


class _Norm(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, states: torch.Tensor, product: torch.dtype = torch.float32) -> torch.Tensor:
        return rms_norm(states, self.weight, self.eps, product)


class _Linear(nn.Linear):
    """No bias, and no initial values: `Llama.fresh` draws them, or they are read."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        pass


class _Embedding(nn.Embedding):
    """No initial values, as in `_Linear`."""

    def reset_parameters(self) -> None:
        pass


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj = _Linear(width, width), _Linear(width, width)
        self.v_proj, self.o_proj = _Linear(width, width), _Linear(width, width)


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = _Linear(width, inner), _Linear(width, inner)
        self.down_proj = _Linear(inner, width)


class Block(nn.Module):
    """Attention and feed-forward layer, each after a norm and added to the states."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config.hidden_size)
        self.mlp = _FeedForward(config.hidden_size, config.intermediate_size)
        self.input_layernorm = _Norm(config)
        self.post_attention_layernorm = _Norm(config)
        self.packed: nn.ModuleList | None = None

    def forward(
        self,
        states: torch.Tensor,
        product: torch.dtype,
        dropout: float,
        attend: "Attend",
    ) -> torch.Tensor:
        """(B, L, D) -> (B, L, D), float32; products in the precision `product`."""
        project, output, expand, contract = self._products(product)
        mixed = output(attend(project(self.input_layernorm(states, product))))
        states = add_dropped(states, mixed, dropout)
        expanded = gated_silu(expand(self.post_attention_layernorm(states, product)))
        return add_dropped(states, contract(expanded), dropout)

    def _products(self, product: torch.dtype) -> list[Any]:
        """The four matrix products of the block; those of the same input are one."""
        if self.packed is not None:
            return list(self.packed)
        return [partial(linear, weight=weight.to(product)) for weight in self._weights()]

    def _weights(self) -> list[torch.Tensor]:
        attention, mlp = self.self_attn, self.mlp
        projected = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        return [
            torch.cat(projected),
            attention.o_proj.weight,
            torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
            mlp.down_proj.weight,
        ]

    @torch.no_grad()
    def pack(self, product: torch.dtype) -> None:
        """Pack the weights for fast products; they can no longer be trained or saved."""
        self.packed = nn.ModuleList(PackedLinear(w, None, product) for w in self._weights())
        del self.self_attn, self.mlp


Attend = Any
"""A function of queries, keys and values side by side, (B, L, 3 x D) -> (B, L, D)."""


class Trunk(nn.Module):
    """Token embeddings, blocks and the last norm."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = _Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = _Norm(config)
        self.config = config
        self.dropout = 0.0

    def forward(
        self, embedded: torch.Tensor, padding: Padding, places: torch.Tensor
    ) -> torch.Tensor:
        """The last states of sequences that are read from their start.

        Args:
            embedded: input embeddings of all tokens, without padding, (at least N, D), float32.
            padding: where the N tokens are in the padded table.
            places: the tokens whose states are returned, (P,).

        Returns:
            (P, D), float32.
        """
        attend = partial(
            causal_attention,
            rotation=self._rotation(padding.length, embedded.device),
            heads=self.config.num_attention_heads,
            padding=padding,
        )
        states = self._blocks(embedded, [attend] * len(self.layers))
        return self._last(states.index_select(0, places))

    def read(self, embedded: torch.Tensor) -> torch.Tensor:
        """The last states of all tokens of sequences of one length, (B, L, D) -> (B, L, D)."""
        rows, length, width = embedded.shape
        tokens = torch.arange(rows * length, device=embedded.device)
        padding = Padding(tokens, rows, length)
        states = self.forward(embedded.reshape(-1, width), padding, tokens)
        return states.view(embedded.shape)

    def extend(
        self,
        embedded: torch.Tensor,
        cache: Cache,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The last states of tokens that follow those in a cache, which is extended by them.

        Args:
            embedded: input embeddings, (B, L, D), float32.
            cache: the keys and values of the tokens before these.
            mask: what is added to the attention's scores, (B, 1, L, S + L); causal by default,
                and then the cache is empty.
            positions: the position of each token, (B, L); by default from 0.
        """
        if positions is None:
            rotation = self._rotation(embedded.shape[1], embedded.device)
        else:
            whole = self._rotation(int(positions.max()) + 1, embedded.device)
            rotation = Rotation(*(table[positions][:, None] for table in whole))
        if not cache:
            cache += [(embedded.new_zeros(0), embedded.new_zeros(0))] * len(self.layers)
        attends = [
            partial(
                _cached_attention,
                rotation=rotation,
                heads=self.config.num_attention_heads,
                cache=cache,
                number=number,
                mask=mask,
            )
            for number in range(len(self.layers))
        ]
        return self._last(self._blocks(embedded, attends))

    def _blocks(self, states: torch.Tensor, attends: list[Attend]) -> torch.Tensor:
        kind = states.device.type
        product = torch.float32
        if torch.is_autocast_enabled(kind):
            product = torch.get_autocast_dtype(kind)
        dropout = self.dropout if self.training else 0.0
        with torch.autocast(kind, enabled=False):
            for block, attend in zip(self.layers, attends, strict=True):
                states = block(states, product, dropout, attend)
        return states

    def _last(self, states: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(states)
        return normed

    def _rotation(self, length: int, device: torch.device) -> Rotation:
        whole = _rotation_table(
            max(length, self.config.max_position_embeddings),
            self.config.head_dim,
            self.config.rope_theta,
            device,
        )
        return Rotation(*(table[:length] for table in whole))


@lru_cache(maxsize=4)
def _rotation_table(length: int, width: int, theta: float, device: torch.device) -> Rotation:
    # Made outside of inference mode, since training may use the cached table as well.
    with torch.inference_mode(False):
        steps = torch.arange(0, width, 2, dtype=torch.float32, device=device)
        frequencies = 1.0 / theta ** (steps / width)
        angles = torch.arange(length, device=device)[:, None] * frequencies
        return Rotation(angles.cos(), angles.sin())


def _cached_attention(
    projected: torch.Tensor,
    rotation: Rotation,
    heads: int,
    cache: Cache,
    number: int,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """Attention of new tokens to those in a block's cache and to each other, as `mask` says."""
    rows, length, _ = projected.shape
    split = projected.view(rows, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys = rotation.rotate(split[:2]).to(projected.dtype)
    values = split[2]
    if cache[number][0].numel():
        keys, values = (
            torch.cat(pair, dim=2) for pair in zip(cache[number], (keys, values), strict=True)
        )
    cache[number] = keys, values
    if mask is not None:
        mask = mask.to(queries.dtype)
    mixed = F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=mask is None)
    return mixed.transpose(1, 2).flatten(2)


class Llama(nn.Module):
    """A causal model with tied embeddings; its parameters have the names of `LlamaForCausalLM`."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = _Linear(config.hidden_size, config.vocab_size)
        self.lm_head.weight = self.model.embed_tokens.weight

    @classmethod
    def fresh(cls, config: LlamaConfig, dropout: float = 0.0) -> "Llama":
        """Random weights as transformers draws them.

        Dropout, which Llama itself does not have, drops whole input tokens, and elements of each
        layer's output. So the model learns to answer a query without some of its words, and a rare
        word gets little influence (measured in docs/project/log).
        """
        model = cls(config)
        model.model.dropout = dropout
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                nn.init.normal_(parameter, std=0.02)
        return model

    @classmethod
    def from_pretrained(cls, folder: Path, config: LlamaConfig) -> "Llama":
        """Read a checkpoint of one file."""
        model = cls(config)
        weights = load_file(folder / _WEIGHTS)
        weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
        model.load_state_dict(weights, assign=True)
        model.lm_head.weight = model.model.embed_tokens.weight
        return model

    def save_pretrained(self, folder: Path) -> None:
        """Write a checkpoint that transformers loads."""
        folder.mkdir(parents=True, exist_ok=True)
        written = json.dumps(self.config.written(), indent=2, sort_keys=True) + "\n"
        (folder / _CONFIG).write_text(written, encoding="utf-8")
        weights = {
            name: tensor.contiguous()
            for name, tensor in self.state_dict().items()
            if name != "lm_head.weight"
        }
        save_file(weights, folder / _WEIGHTS, {"format": "pt"})

    @property
    def base_model(self) -> Trunk:
        """The model without its output embeddings."""
        return self.model

    def get_input_embeddings(self) -> nn.Embedding:
        """The embeddings of the tokens; see transformers."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Linear:
        """The output embeddings, which are tied to the input embeddings; see transformers."""
        return self.lm_head

    def pack(self, product: torch.dtype) -> None:
        """Pack the blocks' weights for fast products; they can no longer be trained or saved."""
        for block in self.model.layers:
            assert isinstance(block, Block)
            block.pack(product)
