from pathlib import Path

import pytest

from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def semantic_folder(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("semantic") / "joint"
    config = quick_config.model_copy(update={"identifiers": "semantic", "codebook_size": 16})
    train(catalog, "joint", out=out, config=config, device="cpu")
    return out
