"""
Write the API reference, from the docstrings, to build/api: C{make docs}.

Whatever is wrong with a docstring is a failure. Names of Twisted and of Python that are linked to are
not: their own documentation is elsewhere.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "build" / "api"
_FAULT = re.compile(r"^\S+:(?:\d+|\?\?\?): ")
_LINK_OUTSIDE = re.compile(r'Cannot find link target for "(?!pmmux\b)')


def faults(said: str) -> list[str]:
    """What pydoctor has said of docstrings that are wrong."""
    return [line for line in said.splitlines() if _FAULT.match(line) and not _LINK_OUTSIDE.search(line)]


def main() -> int:
    """@return: the exit status."""
    command = [sys.executable, "-m", "pydoctor", f"--html-output={OUTPUT}", str(ROOT / "pmmux")]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    found = faults(done.stdout)
    if found or not (OUTPUT / "index.html").exists():
        print("\n".join(found) or done.stdout)
        return 1
    print(f"written: {OUTPUT / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
