"""The page that people read, in a real browser."""

import os
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from twofold.studies.pages.report import verdict_figure, write_report
from twofold.studies.pages.sentences import verdict_sentence
from twofold.studies.result import StudyResult
from twofold.studies.statistics.rule import Verdict
from twofold.studies.verdict import TaskVerdict

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("TWOFOLD_TEST_BROWSER") != "required",
    reason="chromium is not installed: apt-get install chromium",
)


def test_every_measured_number_in_the_page_stands_in_the_result(
    study_folder: Path, content: dict[str, Any]
) -> None:
    page = (study_folder / "report.html").read_text()
    page = page[: page.index("<h2>Protocol")]
    cells = re.sub(r"<(svg|style).*?</\1>", "", page, flags=re.S)
    shown = {match.lstrip("0") for match in re.findall(r"(?<![\d.])0?\.\d{4}\b", cells)}
    known: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)
        elif isinstance(value, float):
            known.add(f"{abs(value):.4f}".lstrip("0"))

    walk(content)
    assert len(shown) > 30
    assert shown - known <= {".6931"}  # log 2, the largest divergence


def test_the_numbers_below_a_panel_do_not_overlap(result: StudyResult) -> None:
    wide = {"difference": -0.0551, "interval": (-0.0949, -0.0154), "interval_90": (-0.08, -0.03)}
    answers = []
    for answer in result.questions:
        verdicts = {
            task: verdict.model_copy(
                update={
                    "sesoi": 0.0235,
                    "contrasts": {
                        name: contrast.model_copy(update=wide)
                        for name, contrast in verdict.contrasts.items()
                    },
                }
            )
            for task, verdict in answer.verdicts.items()
        }
        answers.append(answer.model_copy(update={"verdicts": verdicts}))
    figure = verdict_figure(result.model_copy(update={"questions": answers}))
    figure.canvas.draw()
    for axis in figure.axes:
        labels = [label for label in axis.get_xticklabels() if label.get_text()]
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) > 2
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


def test_the_page_is_the_same_every_time(result: StudyResult, tmp_path: Path) -> None:
    write_report(result, tmp_path / "one.html")
    write_report(result, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_the_page_needs_nothing_from_elsewhere(study_folder: Path) -> None:
    page = (study_folder / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)(?!http://www.w3.org)[^\"]+\"", page)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("helps", "Training on recommendation as well helps search."),
        ("hurts", "Training on recommendation as well hurts search."),
        ("no material difference", "makes no material difference to search."),
        ("not enough data", "do not show whether recommendation helps search (because)."),
    ],
)
@pytest.mark.parametrize("provisional", [True, False])
def test_verdicts_in_words(verdict: Verdict, words: str, provisional: bool) -> None:
    given = TaskVerdict(
        verdict=verdict,
        provisional=provisional,
        reason="because",
        sesoi=0.01,
        p_adjusted=0.5,
        contrasts={},
        needed=None,
        question="transfer",
        measure="Recall@30",
    )
    sentence = verdict_sentence("search", given)
    assert words.lower() in sentence.lower()
    if verdict != "not enough data":
        assert sentence.startswith("Provisionally") == provisional


@needs_browser
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1000])
def test_the_page_opens_without_an_error(study_folder: Path, scheme: str, width: int) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"file://{study_folder / 'report.html'}")
        assert page.title().startswith("Twofold study")
        assert page.locator(".verdict").count() == 6
        assert page.locator("figure svg").count() == 9
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert (
            page.evaluate(
                "[...document.querySelectorAll('.wide')].filter(box => box.scrollWidth > "
                "box.clientWidth).map(box => box.innerText.slice(0, 80))"
            )
            == []
        )
        ink, paper = page.evaluate(
            "['color', 'backgroundColor'].map(name => "
            "+getComputedStyle(document.body)[name].match(/\\d+/)[0])"
        )
        assert (ink < paper) == (scheme == "light")
        browser.close()
    assert said == []
