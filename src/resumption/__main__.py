"""``python -m resumption``: the same as the ``resumption`` command."""

from __future__ import annotations

from resumption.cli import main

if __name__ == "__main__":
    main()
