"""The command `twofold`, and `python -m twofold`."""

import sys

_INTERRUPTED = 130
"""The exit code of a process that Ctrl-C ended, as shells count it."""


def main() -> None:
    """Load the command line, which takes a moment in which Ctrl-C may come, and run it."""
    try:
        from twofold.cli import main as run
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
