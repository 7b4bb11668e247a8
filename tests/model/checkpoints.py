"""Small pretrained checkpoints, as transformers writes them."""

from pathlib import Path

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from twofold.model.vocabulary import train_tokenizer


def small_checkpoint(folder: Path, family: str) -> Path:
    """A small pretrained checkpoint of the classes that real ones have."""
    tokenizer = train_tokenizer(["a dark western film", "robots and a wedding"] * 3, 300)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>"
    )
    wrapped.save_pretrained(folder)
    size = len(wrapped)
    torch.manual_seed(0)
    if family == "t5":
        # As flan-t5: gated, output embeddings not tied, more rows than the tokenizer has tokens.
        config = T5Config(
            vocab_size=size + 28,
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
        )
        T5ForConditionalGeneration(config).save_pretrained(folder)
    else:
        gpt = GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=300)
        GPT2LMHeadModel(gpt).save_pretrained(folder)
    return folder
