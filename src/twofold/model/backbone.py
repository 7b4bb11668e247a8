"""The base class of backbones, and decoders as backbones; device and precision.

Invariant: a backbone's `model` is an ordinary transformers model, so transformers loads its saved
weights, and its logits at the code tokens are `states @ output_embeddings.T`.

Shapes: B requests, L tokens, C contexts (hidden states from which a code is predicted), D width,
E width of a query's vector.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn

from twofold.model.encoded import TIME_BUCKETS, UNKNOWN_TIME, Batch, padded
from twofold.model.kernels import (
    PackedLinear,
    Padding,
    can_pack,
    dropout_mask,
    pack_layers,
    padded_size,
    tied_rows,
)
from twofold.model.llama import Llama
from twofold.records import InputError

if TYPE_CHECKING:
    # Imported where it is used, as a decoder from fresh weights needs no transformers.
    from transformers import PreTrainedModel

    from twofold.model.vocabulary import Vocabulary

QUERY_MAP = "query_map.safetensors"
TIME_EMBEDDING = "time_embedding.safetensors"
_UNKNOWN_SHARE = 0.1
"""The share of training targets whose time is hidden."""


class Backbone(nn.Module, ABC):
    """A sequence model over the vocabulary.

    Attributes:
        model: the transformers model.
        code_slice: the token ids of the codes.
        query_map: maps a query's vector to the model's width, E -> D; None without a text encoder.
        time_embedding: the scale and shift of a state by the time of its request, buckets -> 2 D;
            None if no time is read.
        contexts_per_sequence: 1 if a forward pass predicts from a single hidden state, None for any
            number.
    """

    contexts_per_sequence: int | None = None

    def __init__(self, model: "PreTrainedModel | Llama", vocabulary: "Vocabulary") -> None:
        super().__init__()
        self.model: Any = model
        self.code_slice = slice(vocabulary.code_start, vocabulary.size)
        width = model.get_input_embeddings().embedding_dim
        self.query_map: nn.Linear | None = None
        if vocabulary.encoder:
            self.query_map = nn.Linear(vocabulary.vector_width, width, bias=False)
        self.time_embedding: nn.Embedding | None = None
        if vocabulary.reads_time:
            # Zero-initialised, so that an untrained one changes nothing.
            self.time_embedding = nn.Embedding(TIME_BUCKETS, 2 * width, padding_idx=UNKNOWN_TIME)
            nn.init.zeros_(self.time_embedding.weight)
        self._outputs: dict[tuple[int, int], PackedLinear] = {}

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """`states` and `output_embeddings` for a step of training.

        If the gradient of the output embeddings is sparse, so is that of the tables of
        `read_sparsely`.
        """
        states, table = self.states(batch), self.model.get_output_embeddings().weight
        _, rows = tied_rows(table, batch.tokens.new_zeros(0), self.code_slice.start)
        return states, rows.float()

    def states(self, batch: Batch) -> torch.Tensor:
        """The hidden states from which a code is predicted, (C, D), float32."""
        return self.timed(self.read(batch), batch.time_buckets)

    @abstractmethod
    def read(self, batch: Batch) -> torch.Tensor:
        """The hidden states of `states` before they depend on time, (C, D)."""

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Input embeddings, (B, L, D): of the tokens, plus the query's vector at its last token."""
        return self._with_queries(self.model.get_input_embeddings()(batch.tokens), batch)

    def _with_queries(self, embedded: torch.Tensor, batch: Batch) -> torch.Tensor:
        if self.query_map is None:
            return embedded
        rows = torch.arange(len(embedded), device=embedded.device)
        vectors = self.query_map(batch.query_vectors).to(embedded.dtype)
        return embedded.index_put((rows, batch.lengths - 1), vectors, accumulate=True)

    def timed(self, states: torch.Tensor, buckets: torch.Tensor) -> torch.Tensor:
        """States scaled and shifted by the time of their request, (..., D); see FiLM, Perez et al.,
        AAAI 2018.

        Without a known time the states stay unchanged. In training the time of a tenth of the
        targets is hidden, so that the model learns to answer such requests.

        Args:
            states: (..., D).
            buckets: the bucket of each state's request, broadcast to (...); see `Batch`.
        """
        if self.time_embedding is None:
            return states
        if self.training:
            unknown = torch.rand(buckets.shape, device=buckets.device) < _UNKNOWN_SHARE
            buckets = buckets.masked_fill(unknown, UNKNOWN_TIME)
        scale, shift = self.time_embedding(buckets).chunk(2, dim=-1)
        moved: torch.Tensor = states * (1 + scale) + shift
        return moved

    def output_embeddings(self) -> torch.Tensor:
        """Output embeddings of the codes, (codes, D), float32; gradients reach the weights."""
        rows: torch.Tensor = self.model.get_output_embeddings().weight
        return rows[self.code_slice].float()

    def logits(self, states: torch.Tensor, codes: slice) -> torch.Tensor:
        """Logits of a range of codes, (..., D) -> (..., codes), float32."""
        packed = self._outputs.get((codes.start, codes.stop))
        return states @ self.output_embeddings()[codes].T if packed is None else packed(states)

    def pack(self, precision: str, codebooks: Iterable[slice]) -> None:
        """Pack the weights for fast products on a CPU; the backbone can no longer be trained.

        Args:
            precision: the precision of matrix products in training; scores stay float32.
            codebooks: the range of codes of each codebook, which are scored together.
        """
        if not can_pack(self.output_embeddings().device):
            return
        product = torch.bfloat16 if precision == "bfloat16" else torch.float32
        pack_layers(self, product, keep=self.model.get_output_embeddings())
        self._pack_outputs(codebooks)

    def repack(self, codebooks: Iterable[slice]) -> None:
        """Pack the output embeddings again after they have changed, if `pack` was called before."""
        if self._outputs:
            self._outputs.clear()
            self._pack_outputs(codebooks)

    @torch.no_grad()
    def _pack_outputs(self, codebooks: Iterable[slice]) -> None:
        rows = self.output_embeddings()
        for codebook in codebooks:
            packed = PackedLinear(rows[codebook], None, torch.float32)
            self._outputs[codebook.start, codebook.stop] = packed

    def code_tables(self) -> list[torch.Tensor]:
        """The codes' input and output embeddings, (codes, D); a single table if they are tied."""
        return [layer.weight[self.code_slice] for layer in self._embedding_layers()]

    def embedding_tables(self) -> list[nn.Parameter]:
        """The input and output embeddings of all tokens; a single table if they are tied."""
        return [layer.weight for layer in self._embedding_layers()]

    def read_sparsely(self) -> None:
        """Let `embedding_tables` have sparse gradients."""
        tables = {id(table) for table in self.embedding_tables()}
        for module in self.modules():
            if isinstance(module, nn.Embedding) and id(module.weight) in tables:
                module.sparse = True

    def _embedding_layers(self) -> list[Any]:
        inputs, outputs = self.model.get_input_embeddings(), self.model.get_output_embeddings()
        return [inputs] if inputs.weight is outputs.weight else [inputs, outputs]

    @torch.no_grad()
    def append_rows(self, new: Sequence[torch.Tensor]) -> None:
        """Append codes to the vocabulary, in place.

        Args:
            new: the new codes' rows, (M, D), for each of `code_tables`.
        """
        layers = self._embedding_layers()
        for layer, rows in zip(layers, new, strict=True):
            grown = torch.cat([layer.weight, rows.to(layer.weight)])
            layer.weight = nn.Parameter(grown, requires_grad=False)
        inputs, outputs = self.model.get_input_embeddings(), self.model.get_output_embeddings()
        if len(layers) == 1:
            outputs.weight = inputs.weight
        size = inputs.weight.shape[0]
        self.code_slice = slice(self.code_slice.start, size)
        inputs.num_embeddings = outputs.out_features = self.model.config.vocab_size = size

    def save(self, folder: Path) -> None:
        """Write a folder that transformers can load."""
        if not isinstance(self.model, Llama):
            hide_progress()
        self.model.save_pretrained(folder)
        if self.query_map is not None:
            save_file(self.query_map.state_dict(), folder / QUERY_MAP)
        if self.time_embedding is not None:
            save_file(self.time_embedding.state_dict(), folder / TIME_EMBEDDING)


class Decoder(Backbone):
    """A causal model: a code may be predicted at every position of one forward pass."""

    def read(self, batch: Batch) -> torch.Tensor:
        # Padding is on the right, where the causal mask hides it: no other mask is needed.
        hidden = self.model.base_model(inputs_embeds=self.inputs(batch), use_cache=False)
        states: torch.Tensor = hidden.last_hidden_state
        return states[batch.context_rows, batch.context_positions].float()

    def new_cache(self) -> Any:
        """An empty cache for `extend`."""
        from transformers import DynamicCache

        return DynamicCache()  # a sliding window of the model would cut off the request

    def extend(
        self,
        embedded: torch.Tensor,
        cache: Any,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The last states of tokens that follow those in a cache, (B, L, D), float32.

        Args:
            embedded: input embeddings, (B, L, D).
            cache: from `new_cache`; extended by these tokens, (S,) so far.
            mask: what is added to the attention's scores, (B, 1, L, S + L); causal by default.
            positions: the position of each token, (B, L); by default from 0.
        """
        given = {} if mask is None else {"attention_mask": mask, "position_ids": positions}
        output = self.model.base_model(
            inputs_embeds=embedded, past_key_values=cache, use_cache=True, **given
        )
        states: torch.Tensor = output.last_hidden_state.float()
        return states


class LlamaDecoder(Decoder):
    """Our own Llama: a training step gives the same numbers in half the time of transformers'."""

    model: Llama

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Backbone.forward`."""
        embeddings = self.model.get_input_embeddings()
        embedded, rows = tied_rows(embeddings.weight, _tokens(batch), self.code_slice.start)
        return self.timed(self._states(embedded, batch), batch.time_buckets), rows

    def read(self, batch: Batch) -> torch.Tensor:
        return self._states(self.model.get_input_embeddings()(_tokens(batch)), batch)

    def _states(self, embedded: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The states from the embeddings of the tokens, (at least N, D)."""
        rate = self.model.base_model.dropout
        if self.training and rate:
            embedded = embedded * dropout_mask(embedded[:, :1], rate)
        rows, width = batch.tokens.shape
        length = padded(width) if width > 16 else width
        indices = batch.token_indices
        token_of = indices.new_zeros(rows * width)
        token_of[indices] = torch.arange(len(indices), device=indices.device)
        if self.query_map is not None:
            starts = torch.arange(rows, device=indices.device) * width
            last = token_of[starts + batch.lengths - 1]
            # In float32: batches of queries have many sizes, see `kernels._SHORT`.
            with torch.autocast(embedded.device.type, enabled=False):
                vectors = self.query_map(batch.query_vectors.float())
            embedded = embedded.index_add(0, last, vectors.to(embedded.dtype))
        places = token_of[batch.context_rows * width + batch.context_positions]
        if length != width:
            indices = indices // width * length + indices % width
        padding = Padding(indices, rows, length)
        states: torch.Tensor = self.model.base_model(embedded, padding, places)
        return states

    def new_cache(self) -> Any:
        return []

    def extend(
        self,
        embedded: torch.Tensor,
        cache: Any,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self.model.base_model.extend(embedded, cache, mask, positions)

    def pack(self, precision: str, codebooks: Iterable[slice]) -> None:
        """See `Backbone.pack`."""
        if can_pack(self.output_embeddings().device):
            self.model.pack(torch.bfloat16 if precision == "bfloat16" else torch.float32)
        super().pack(precision, codebooks)


def _tokens(batch: Batch) -> torch.Tensor:
    """The tokens without padding, and a few zeros so that few shapes occur, (at least N,)."""
    indices = batch.token_indices
    tokens = batch.tokens.new_zeros(padded_size(len(indices)))
    tokens[: len(indices)] = batch.tokens.view(-1)[indices]
    return tokens


def hide_progress() -> None:
    """Let transformers show no progress bar when it reads or writes a checkpoint."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def resolve_device(device: str) -> torch.device:
    """The device of a name: `cpu`, `cuda`, or `auto` for a GPU if there is one.

    Raises:
        InputError: the device is not usable here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device '{device}': not usable here; use cpu") from error
    return resolved


def resolve_precision(precision: str, device: torch.device) -> str:
    """`float32` or `bfloat16`; `auto` chooses bfloat16 if the hardware multiplies it fast."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if device.type == "cpu" and has_instructions() else "float32"


def retrieval_precision(precision: str, device: torch.device) -> str:
    """The precision in which a trained model answers requests on a device: its own, or float32 if
    the device multiplies bfloat16 slowly or, as most CPUs of laptops, has no operator for it.

    Args:
        precision: the precision of the training, `float32` or `bfloat16`.
        device: the device of the weights.
    """
    return resolve_precision("auto", device) if precision == "bfloat16" else precision


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Compute matrix products in `precision` (resolved); everything else stays float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
