"""Settings: defaults, presets, files, and mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from twofold.records import InputError
from twofold.training.config import PRESETS, TrainingConfig, as_config, require_seed, resolve_config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("colour=red",), "setting 'colour': does not exist; the settings are backbone,"),
        (("colour=red",), "setting 'colour': does not exist; .*, max_steps, "),
        (("max_steps=0",), "setting 'max_steps': Input should be greater than or equal to 1"),
        (("max_history=100000000",), "setting 'max_history': Input should be less than or equal"),
        (("max_query_tokens=1000000",), "setting 'max_query_tokens': Input should be less than"),
        (("max_steps",), "--set 'max_steps': write it as KEY=VALUE"),
        (("learning-rat=1",), r"does not exist; did you mean learning_rate\? the settings are b"),
        (("dropout=2",), "setting 'dropout': Input should be less than 1, not \"2\"$"),
        (("source_weights=equal",), "setting 'source_weights': .* not \"equal\"$"),
    ],
)
def test_settings_are_checked(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_config("quick", settings=settings)


def test_the_defaults_are_the_preset_standard() -> None:
    assert TrainingConfig() == resolve_config() == resolve_config("standard")


def test_weights_are_given_by_name_as_json() -> None:
    given = 'source_weights={"search": 0.2, "recommendation": 0.8}'
    config = resolve_config("quick", None, (given,))
    assert config.source_weights == {"search": 0.2, "recommendation": 0.8}
    with pytest.raises(InputError, match=r"source_weights=.* not a JSON object"):
        resolve_config("quick", None, ("source_weights={search: 1}",))


def test_a_file_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"max_steps": 7, "dropout": 0.1}))
    config = resolve_config("quick", file=path, settings=("dropout=0.4",), backbone="t5:tiny")
    assert (config.max_steps, config.dropout, config.backbone) == (7, 0.4, "t5:tiny")
    path.write_text("[1]")
    with pytest.raises(InputError, match="must contain a JSON object"):
        resolve_config("quick", file=path)


def test_spaces_around_the_parts_of_a_setting_are_ignored() -> None:
    assert resolve_config("quick", settings=("dropout = 0.4",)).dropout == 0.4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"dropout": "much"}', "setting 'dropout': .*, not \"much\"$"),
        ('{"dropout": null}', "setting 'dropout': .*, not null$"),
        ('{"dropout": true}', "setting 'dropout': Input should not be a boolean, not true$"),
        ('{"dropuot": 0.1}', r"setting 'dropuot': does not exist; did you mean dropout\?"),
        ('{"dropout": 0.1, "dropout": 0.2}', "key 'dropout' occurs twice in an object"),
        ("dropout: 0.1", "not readable as JSON .*; write it as a JSON object of settings"),
        ("[" * 100_000, "not readable as JSON .*; write it as a JSON object of settings"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: .*{message}"):
        resolve_config("quick", file=path)
    path.write_text('{"dropout": 2}')
    with pytest.raises(InputError, match=r'^setting "?.dropout.: .* not "3"$'):
        resolve_config("quick", file=path, settings=("dropout=3",))


@pytest.mark.parametrize(
    ("settings", "options", "values"),
    [
        (("max_steps=10",), {"max_steps": 5}, "'max_steps': is given as 10 and as 5"),
        (("text_encoder=tfidf",), {"text_encoder": "none"}, "as tfidf and as none"),
        (("dropout=0.1", "dropout=0.2"), {}, "'dropout': is given as 0.1 and as 0.2"),
        (("dropout=0.1", "dropout=much"), {}, "'dropout': is given as 0.1 and as much"),
    ],
)
def test_a_setting_with_two_values_is_refused(
    settings: tuple[str, ...], options: dict[str, Any], values: str
) -> None:
    with pytest.raises(InputError, match=f"^setting .*{values} .*; give it once$"):
        resolve_config("quick", None, settings, **options)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("patience=inf", "'patience': Input should be a finite number"),
        ("epochs=inf", "'epochs': Input should be a finite number"),
        ('source_weights={"search":NaN,"recommendation":1}', "should be a finite number, not NaN"),
        (
            'source_weights={"search":1,"recomendation":1}',
            "'search' or 'recommendation', not \"rec",
        ),
        ("source_weights=equal", "'proportional' or 'balanced', not \"equal"),
    ],
)
def test_a_number_without_an_end_or_an_unknown_source_is_refused(
    setting: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        resolve_config("quick", None, (setting,))
    assert resolve_config("quick", None, ("max_grad_norm=inf",)).max_grad_norm > 1e9, "no clipping"


def test_a_setting_may_be_given_twice_with_one_value() -> None:
    config = resolve_config("quick", None, ("max_time=1", "max_time=1.0"), max_time=1.0)
    assert config.max_time == 1
    with pytest.raises(InputError, match="'max_time': Input should be a finite number, not NaN"):
        resolve_config("quick", max_time=float("nan"))


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"dropout": 0.3, "request_time": true}', encoding="utf-8-sig")
    assert resolve_config("quick", file=path).dropout == 0.3


def test_every_preset_resolves_and_every_setting_is_described() -> None:
    for budget in PRESETS:
        assert resolve_config(budget).patience > 0
    for name, field in TrainingConfig.model_fields.items():
        description = field.description or ""
        assert len(description.split()) > 1, name
        assert not description.lower().startswith("of "), name


@pytest.mark.parametrize("config", [{"max_steps": 5}, 5, "settings.json"])
def test_what_is_no_configuration_is_refused(config: Any) -> None:
    with pytest.raises(
        InputError, match=r"is not a configuration; make one with twofold\.resolve_c"
    ):
        as_config(config)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "0", None, True])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match="must be a whole number from 0 to 4294967295"):
        require_seed(seed)
