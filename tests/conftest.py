"""Small datasets and models that the tests share. Every one is made on the spot."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: no test asks the network

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from twofold.data.dataset import validate
from twofold.data.formats import Table
from twofold.data.simulators.catalog import catalog as simulated_catalog
from twofold.encoders.sentence import SentenceEncoder
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.prepared import PreparedDataset, split_dataset
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.train import train

torch.set_num_threads(1)

WriteFolder = Callable[..., Path]

ITEMS = "item_id,title,genre\na,Alpha,x\nb,Beta,y\nc,,x\nd,Delta,\ne,Epsilon,y\n"
INTERACTIONS = "user_id,item_id,timestamp\n" + "".join(
    f"{user},{item},{time}\n"
    for user, items in (("u1", "abcd"), ("u2", "bcde"), ("u3", "edcb"), ("u4", "ab"))
    for time, item in enumerate(items, start=100)
)
QUERIES = "query_id,text,split\nq1,first letter,train\nq2,last letters,validation\nq3,vowel,test\n"
QRELS = "query_id,item_id,relevance\nq1,a,1\nq2,e,2\nq3,a,1\nq3,e,1\n"


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Write a dataset folder of CSV files; a table given as None is left out."""

    def write(name: str = "data", **changes: str | None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        whole = {
            "items": ITEMS,
            "interactions": INTERACTIONS,
            "queries": QUERIES,
            "qrels": QRELS,
        }
        for table, text in {**whole, **changes}.items():
            if text is not None:
                (folder / f"{table}.csv").write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def catalog() -> PreparedDataset:
    """A small film catalog with both tasks."""
    frames = simulated_catalog(films=60, users=80, queries=120)
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    return split_dataset(validate(tables), "simulate:catalog")


@pytest.fixture(scope="session")
def quick_config() -> TrainingConfig:
    """Seconds of training."""
    return resolve_config(
        "quick",
        backbone="decoder:tiny",
        max_steps=40,
        min_validations=4,
        batch_tokens=512,
        max_batch_size=8,
        text_vocab_size=400,
        precision="float32",
        patience=9.0,
    )


@pytest.fixture(scope="session")
def model_folder(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A joint model."""
    out = tmp_path_factory.mktemp("model") / "joint"
    train(catalog, "joint", out=out, config=quick_config, device="cpu")
    return out


@pytest.fixture(scope="session")
def semantic_folder(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A joint model with semantic IDs."""
    out = tmp_path_factory.mktemp("semantic") / "joint"
    config = quick_config.model_copy(update={"identifiers": "semantic", "codebook_size": 16})
    train(catalog, "joint", out=out, config=config, device="cpu")
    return out


@pytest.fixture(scope="session")
def retriever(model_folder: Path) -> GenerativeRetriever:
    from twofold.retrieval.generative import load_model

    return load_model(model_folder)


@pytest.fixture(scope="session")
def sentence_encoder(
    catalog: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> SentenceEncoder:
    """A sentence-transformers model with random weights that knows the catalog's words."""
    folder = tmp_path_factory.mktemp("encoder")
    words = {word for text in catalog.catalog.texts for word in text.lower().split()}
    words |= {word for text in catalog.queries["text"] for word in text.lower().split()}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(vocabulary)}, "[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    marks |= {"sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder / "bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "bert")
    reader = Transformer(str(folder / "bert"), max_seq_length=32)
    model = SentenceTransformer(modules=[reader, Pooling(32)], device="cpu")
    model.save(str(folder / "encoder"))
    return SentenceEncoder.load(str(folder / "encoder"))
