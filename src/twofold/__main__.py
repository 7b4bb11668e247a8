"""The command `twofold`, and `python -m twofold`."""

import sys

_INTERRUPTED = 130
"""The exit code after Ctrl-C, by the convention of shells."""


def main() -> None:
    """Import and run the command line; Ctrl-C may also come during the import, which is slow."""
    try:
        from twofold.cli import main as run
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
