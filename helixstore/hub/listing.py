"""What the hub says of a repository at a revision, and the addresses of its files.

Both are plain HTTP: `GET /api/models/<id>/revision/<revision>?blobs=true`, as `HfApi.model_info(files_metadata=True)`
of the client asks it (0.36 to 2.4), and `/<id>/resolve/<revision>/<path>` (`hf_hub_url`). They are asked here so that
an answer without end is not read into memory, and since loading the client's own takes longer than a small download.
Names, logins, sessions and errors are the client's.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from helixstore.errors import Failed
from helixstore.hub.wire import client, get

__all__ = ["file_address", "listing"]

_MOST = 64 << 20                # bytes of a listing; one of 100,000 files has about 25 MB


def listing(repository: str, revision: str | None = None, endpoint: str | None = None, *, login: bool = True,
            seconds: float = 30.0) -> dict[str, Any]:
    """What the hub says of a repository: `id`, `sha`, `private`, `gated`, `disabled`, and a list of its
    `siblings`: `rfilename` (text), `size`, `blobId` and, of those in LFS, `lfs` with `sha256`. Nothing else is checked.

    Args:
        repository: `org/name`.
        revision: a branch, tag or commit; None: the main branch.
        endpoint: the hub's address; None: huggingface_hub's own, which HF_ENDPOINT sets.
        login: send the person's token, where there is one.
        seconds: without an answer.

    Raises:
        Failed: it is no listing, or one without end.
        Exception: the client's own errors, see `helixstore.hub.telling`.
    """
    client().validate_repo_id(repository)
    at = f"/revision/{quote(revision, safe='')}" if revision is not None else ""
    headers = client().build_hf_headers(library_name="helixstore", token=None if login else False)
    address = f"{_endpoint(endpoint)}/api/models/{repository}{at}?blobs=true"
    data = bytearray()
    with get(address, headers, seconds) as (response, chunks):
        client().hf_raise_for_status(response)
        for chunk in response.iter_bytes() if hasattr(response, "iter_bytes") else chunks:      # both unpack it
            data += chunk
            if len(data) > _MOST:
                raise Failed(f"what the hub lists of {repository} has no end", "try again later")
    found = _parsed(data)
    if found is None:
        raise Failed(f"what the hub answers about {repository} is no listing", "see whether HF_ENDPOINT is right, and "
                     "whether a proxy wants a login")
    return found


def _parsed(data: bytearray) -> dict[str, Any] | None:
    """A listing whose files all have names; None where it is none."""
    try:
        found: dict[str, Any] = json.loads(data)
        found["siblings"] = list(found.get("siblings") or ())
        return found if all(isinstance(one["rfilename"], str) for one in found["siblings"]) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def file_address(repository: str, revision: str, path: str, endpoint: str | None = None) -> str:
    """Where the hub gives a file of a repository; arguments as of `listing`, `path` in the repository."""
    return f"{_endpoint(endpoint)}/{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"


def _endpoint(given: str | None) -> str:
    from huggingface_hub import constants

    return (given or str(constants.ENDPOINT)).rstrip("/")
