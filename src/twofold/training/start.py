"""Where a training starts: vocabulary, weights, and the rows of the items."""

from twofold.encoders.factorisation import item_factors
from twofold.encoders.text_encoder import resolve_encoder
from twofold.encoders.vectors import Vectors
from twofold.identifiers.identifiers import IdSpaces
from twofold.model.backbone import Backbone
from twofold.model.fresh import (
    fresh_backbone,
    is_fresh,
    start_from_histories,
    start_from_text,
    zero_init_residuals,
)
from twofold.model.pretrained import pretrained_backbone, require_steps
from twofold.model.vocabulary import Vocabulary, fresh_vocabulary, train_tokenizer
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig


def start(
    dataset: PreparedDataset, spaces: IdSpaces, config: TrainingConfig, seed: int
) -> tuple[Vocabulary, Backbone, Vectors | None]:
    """Vocabulary, weights, and where the items' texts stand, (items, E); the same in every arm of
    one seed.

    Raises:
        InputError: a backbone or encoder that is not there.
    """
    texts = dataset.catalog.texts
    asked = [example.query or "" for example in dataset.task("search").examples]
    encoder = resolve_encoder(config.text_encoder, texts, asked)
    if is_fresh(config.backbone):
        tokenizer = train_tokenizer([*texts, *asked], config.text_vocab_size)
        # Words next to the embedding make a fresh model worse (measured, see docs/project/log).
        words = 0 if encoder else config.max_query_tokens
        vocabulary = fresh_vocabulary(tokenizer, spaces, config.max_history, words, encoder)
        backbone = fresh_backbone(config.backbone, vocabulary, config.dropout, seed)
        if encoder or config.item_init == "histories":
            zero_init_residuals(backbone)
    else:
        limits = config.max_history, config.max_query_tokens
        backbone, vocabulary = pretrained_backbone(config.backbone, spaces, *limits, seed, encoder)
        if not spaces.are_atomic:
            require_steps(config.backbone, backbone, vocabulary)
    vectors = encoder.encode(texts) if encoder else None
    if encoder and vectors is not None:
        start_from_text(backbone, spaces, vectors, encoder.encode(asked))
    if config.item_init == "histories":
        width = backbone.model.get_output_embeddings().weight.shape[1]
        start_from_histories(backbone, spaces, item_factors(dataset, width))
    return vocabulary, backbone, vectors
