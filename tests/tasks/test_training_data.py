"""Training examples worked out by hand, queries made of item texts, and documents."""

from tests.conftest import WriteFolder
from tests.planted import planted_dataset, with_other_held_out
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.tasks.training_data import item_documents, item_text_examples


def test_one_example_a_user_with_a_target_at_every_event(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    source = dataset.task("recommendation").source()
    assert source.targets == 4
    example = source.examples[0]
    assert (example.history.tolist(), example.targets.tolist(), example.visible.tolist()) == (
        [0],
        [1],
        [1],
    )


def test_items_ask_for_themselves_by_their_own_words(catalog: PreparedDataset) -> None:
    made = item_text_examples(catalog.catalog, 3)
    assert len(made) == 4 * len(catalog.catalog)
    for example in made:
        item = int(example.targets[0])
        text = catalog.catalog.texts[item].lower()
        assert all(word in text for word in (example.query or "").lower().split())
        assert not len(example.history)
    again = item_text_examples(catalog.catalog, 3)
    assert [e.query for e in made] == [e.query for e in again]
    with_text = catalog.task("search").source(3)
    assert with_text.targets == catalog.task("search").source().targets + len(made)


def test_an_item_without_text_asks_for_nothing(catalog: PreparedDataset) -> None:
    blank = catalog.catalog.items.with_columns(title=None, text=None)
    columns = [name for name in blank.columns if name in ("item_id", "title")]
    bare = type(catalog.catalog).of(blank.select(columns))
    assert item_text_examples(bare, 3) == []


def test_a_document_is_the_text_and_then_the_training_queries(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    (example,) = dataset.task("search").examples
    wanted = set(example.targets.tolist())
    for item, (document, text) in enumerate(
        zip(_documents(dataset), dataset.catalog.texts, strict=True)
    ):
        assert document == (f"{text} {example.query}" if item in wanted else text)


def test_documents_hold_texts_and_training_queries_alone() -> None:
    dataset = planted_dataset()
    documents = _documents(dataset)
    examples = dataset.task("search").examples
    for item, (text, document) in enumerate(zip(dataset.catalog.texts, documents, strict=True)):
        asked = [example.query for example in examples if item in example.targets]
        assert document == " ".join([text, *map(str, asked)])
    assert _documents(with_other_held_out(dataset)) == documents


def _documents(dataset: PreparedDataset) -> list[str]:
    return item_documents(dataset.catalog.texts, dataset.task("search").queries_by_item)
