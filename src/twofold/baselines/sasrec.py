"""SASRec, trained by the same recipe as the arms: the blocks differ, the loop and loss do not."""

from pathlib import Path

from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig
from twofold.training.train import train
from twofold.training.tuning import SASREC_RECIPES, choose_recipe, recipes_of


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

    The loss is full or sampled as for the arms: with it SASRec ranks far better than as it was
    first published (Klenitskiy and Vasilev, RecSys 2023). Its best checkpoint on validation stays.

    Args:
        dataset: one with interactions.
        out: the model folder; one that is finished is loaded.
        config: the configuration of the arms; its steps, width and depth are kept.
        seed, device, threads: as in `twofold.train`.
        tune: the number of recipes that validation chooses from; 0 takes the configuration's.
    """
    _, _, size = config.backbone.partition(":")
    changed = {
        "backbone": f"sasrec:{size or 'small'}",
        "text_encoder": "none",
        "item_init": "random",
        "item_text_queries": 0,
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
