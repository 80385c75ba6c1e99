"""``python -m isoline``: the command line."""

from __future__ import annotations

from isoline.cli import main

if __name__ == "__main__":
    main()
