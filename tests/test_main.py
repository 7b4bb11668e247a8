"""The command `twofold` before its command line is loaded."""

import sys

import pytest

from twofold import __main__ as command


def test_ctrl_c_while_modules_are_imported_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupt:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "twofold.cli":
                raise KeyboardInterrupt

    for name in [name for name in sys.modules if name.startswith("twofold.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Interrupt(), *sys.meta_path])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 130
