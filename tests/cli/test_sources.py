"""`twofold sources` lists what can be read."""

import json

from tests.commands import run_here


def test_sources_for_a_person_and_for_a_program() -> None:
    shown = run_here("sources").stdout
    assert "RecBole" in shown
    assert "simulate:catalog" in shown
    listed = json.loads(run_here("sources", "--json").stdout)
    assert {"layouts", "names", "simulators"} == set(listed)
