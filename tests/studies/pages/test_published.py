"""benchmarks/verdicts.py: the tables of studies that are published."""

from verdicts import tables_of

from twofold.studies.result import StudyResult


def test_each_verdict_stands_with_the_difference_that_it_rests_on(result: StudyResult) -> None:
    verdicts, _ = tables_of(result)
    told = {(row["question"], row["models"], row["task"]): row for row in verdicts.rows}
    assert len(told) == sum(len(answer.verdicts) for answer in result.questions)
    for answer in result.questions:
        for task, verdict in answer.verdicts.items():
            models = {"without": "from behaviour", "with": "with item text"}[answer.text]
            row = told[
                answer.question, "deployed" if answer.question == "replace" else models, task
            ]
            assert str(row["verdict"]).endswith(verdict.verdict)
            joint, own = row["joint"], row["plain"]
            difference = row["joint - plain"]
            assert isinstance(joint, float)
            assert isinstance(own, float)
            assert isinstance(difference, list)
            assert abs(joint - own - difference[0]) < 1e-3


def test_each_claim_of_the_paper_has_a_figure_for_each_task(result: StudyResult) -> None:
    _, claims = tables_of(result)
    for task in result.tasks:
        of_task = [row for row in claims.rows if row["task"] == task]
        assert [str(row["claim"])[:2] for row in of_task].count("H1") == 1
        assert all(row["value"] for row in of_task)
