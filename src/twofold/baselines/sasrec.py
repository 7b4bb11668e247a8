"""SASRec, trained with the loop and the loss of the arms; only the blocks differ."""

from pathlib import Path

from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig
from twofold.training.train import train
from twofold.training.tuning.recipes import SASREC_RECIPES, recipes_of
from twofold.training.tuning.trials import choose_recipe


def sasrec(
    dataset: PreparedDataset,
    out: Path,
    config: TrainingConfig,
    *,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    tune: int = 0,
) -> GenerativeRetriever:
    """Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018) with softmax loss.

    The loss is a full or sampled softmax as for the arms, with which SASRec is far better than as
    first published (Klenitskiy and Vasilev, RecSys 2023). The best checkpoint on validation is
    kept.

    Args:
        dataset: one with interactions.
        out: the model folder; a finished one is loaded.
        config: the configuration of the arms; its steps, width and depth are kept.
        seed, device, threads: as in `twofold.train`.
        tune: the number of recipes from which validation chooses; with 0 the configuration is used.
    """
    _, _, size = config.backbone.partition(":")
    changed = {
        "backbone": f"sasrec:{size or 'small'}",
        "text_encoder": "none",
        "item_init": "random",
        "item_text_queries": 0,
        "hybrid": "none",  # a history match would add what published models have not
        "request_time": False,
    }
    arm = NAMED_ARMS["recommendation"]
    own, tuning = config.model_copy(update=changed), None
    if tune:
        recipes = recipes_of(dataset, arm, config, tune, SASREC_RECIPES)
        chosen = choose_recipe(
            dataset, arm, out.parent / "sasrec-tuning", own, recipes, device=device
        )
        own, tuning = chosen.config, chosen.record
    retriever = train(
        dataset,
        arm,
        out=out,
        config=own,
        seed=seed,
        device=device,
        threads=threads,
        resume=True,
        histories=False,
        tuning=tuning,
    )
    retriever.name = "SASRec"
    return retriever
