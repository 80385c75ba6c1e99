"""``isoline`` and ``python -m isoline``: the command line, of which a health probe loads next to nothing."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name."""
    match sys.argv[1:]:
        case ["health"]:
            _probe()
        case ["health", url] if not url.startswith("-"):
            _probe(url)
        case _:
            from isoline.cli.app import main as run_command  # noqa: PLC0415 - a second of CPU

            run_command()


def _probe(*url: str) -> None:
    from isoline.health_probe import probe  # noqa: PLC0415 - no other command needs it

    is_ready, response = probe(*url)
    sys.stdout.write(f"{response}\n")
    sys.exit(0 if is_ready else 1)  # Docker knows no other


if __name__ == "__main__":
    main()
