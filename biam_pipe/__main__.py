"""The command `biam-pipe`, and `python -m biam_pipe`: `cli`, once it is certain to be ours."""

import sys

from biam_pipe.own import require_own


def main() -> None:
    """Run the command line; exit code 1 where another program's package has the name of one of ours."""
    try:
        require_own()
    except ImportError as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    from cli import main as run

    run()


if __name__ == "__main__":
    main()
