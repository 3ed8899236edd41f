"""The site's settings, which an administrator writes once so that everybody else types only `helixstore sync`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helixstore.errors import ConfigError
from helixstore.fs import folders, kernel
from helixstore.places import Places
from helixstore.settings import set_values

__all__ = ["Site", "write_site"]


@dataclass(frozen=True, slots=True)
class Site:
    """What became of the site's settings.

    Attributes:
        file: where they belong.
        written: they are there now.
        text: the whole of that file.
        command: what an administrator runs when they could not be written; else "".
    """

    file: Path
    written: bool
    text: str
    command: str = ""


def write_site(places: Places, values: Mapping[str, Any]) -> Site:
    """Write settings into the site's file, with what stands in it already.

    Without the right to do so, they are left in the person's state folder for an administrator to install.

    Args:
        places: says which file.
        values: dotted key -> value.

    Raises:
        ConfigError: the file that is there is no TOML.
    """
    file = places.site_config_file
    try:
        if not file.parent.is_dir():
            folders.make_folder(str(file.parent), 0o755)        # whatever the umask: everybody reads it
        set_values(places, values, file=file)
        os.chmod(file, 0o644)
    except (ConfigError, OSError) as error:
        if isinstance(error, ConfigError) and not isinstance(error.__cause__, OSError):
            raise
    else:
        return Site(file, True, file.read_text())
    draft = places.state / "site-config.toml"
    places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    kernel.replace_file(draft, file.read_bytes() if os.access(file, os.R_OK) else b"", 0o600)
    set_values(places, values, file=draft)
    command = f"sudo install -D -m 644 {shlex.quote(str(draft))} {shlex.quote(str(file))}"
    return Site(file, False, draft.read_text(), command)
