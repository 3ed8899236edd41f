"""`python -m helixstore` is `helixstore`: with nothing imported from the folder that it is called in."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]                             # `-m` puts it first; what lies there is no library of ours

    from helixstore.cli import main

    main()
