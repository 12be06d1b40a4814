"""Where the state file is, if nobody says where."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

SYSTEM_DIRECTORY = Path("/var/lib/pmmux")
_DIGEST_CHARACTERS = 8
_LONGEST_STEM_CHARACTERS = 40
_substitute_unfit = re.compile(r"[^A-Za-z0-9_-]").sub


def find_state_directory(environment: Mapping[str, str], is_root: bool) -> Path | None:
    """
    The directory for what must outlive a process.

    @return: C{None} where there is none: no home, say.
    @see: systemd.exec(5), C{StateDirectory=}; the XDG Base Directory Specification, which has relative
        paths ignored.
    """
    given = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if given.startswith("/"):
        return Path(given)
    if is_root:
        return SYSTEM_DIRECTORY
    given = environment.get("XDG_STATE_HOME", "")
    if given.startswith("/"):
        return Path(given, "pmmux")
    home = environment.get("HOME", "")
    return Path(home, ".local", "state", "pmmux") if home.startswith("/") else None


def find_state_path(source: str | None, environment: Mapping[str, str], is_root: bool | None = None) -> str:
    """
    The state file of one configuration; another one has another file.

    @param source: the path of the configuration file; C{None} where all is on the command line, which
        then belongs to the working directory.
    @param is_root: by default whether this process is.
    @return: empty where there is no directory for it.
    """
    directory = find_state_directory(environment, os.geteuid() == 0 if is_root is None else is_root)
    if directory is None:
        return ""
    whole = os.path.realpath(source or os.curdir)
    stem = _substitute_unfit("_", Path(source).stem if source else "command-line")
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()[:_DIGEST_CHARACTERS]
    return str(directory / f"nat-{stem[:_LONGEST_STEM_CHARACTERS]}-{digest}.json")
