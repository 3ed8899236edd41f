"""Downloads and repairs go through whichever version of the hub's client is installed, from 0.36 (requests) on."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from tests.support.hub import Repository, Trouble, hub
from tests.support.programs import python
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.programs

COMMIT = "1edfc51ff61fdd41a1ea0ea81799d23522f379b2"

_DOWNLOAD = """
import json, site, sys
for path in sys.argv[2:]:
    site.addsitedir(path)               # what helixstore needs, behind the client of this environment
import huggingface_hub
from helixstore import HelixStore
from helixstore.errors import HelixError
HelixStore.init()
with HelixStore() as store:
    report = store.download(sys.argv[1])
    [variant] = store.show(report.name).variants
    sound = store.verify().bad == []
try:
    HelixStore.compat_of("hf:acme/nothing")
except HelixError as error:
    said = error.message
print(json.dumps([huggingface_hub.__version__, report.fetched_bytes, sound, said]))
"""


@pytest.mark.parametrize(("environment", "version"), [("hub-old", "0."), ("hub-1", "1."), ("hub", "2.")])
def test_every_version_of_the_client_downloads_through_a_redirect(
    sandbox: Sandbox, tiny: Path, environment: str, version: str,
) -> None:
    served = Repository("acme/pebble-GGUF", COMMIT, {"pebble-F16.gguf": tiny / "pebble.gguf"})
    storage = Repository(served.name, served.commit, dict(served.files))
    paths = [str(Path(__file__).parents[2]), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    with hub(served) as endpoint, hub(storage) as elsewhere:
        served.trouble = lambda path, number: Trouble(302, {
            "Location": f"{elsewhere}/{served.name}/resolve/{served.commit}/{path}"})
        environ = sandbox.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_of_mine"}
        used, fetched, sound, said = python(environment, _DOWNLOAD, f"hf:{served.name}", *paths, environ=environ)
    assert used.startswith(version)
    assert fetched == (tiny / "pebble.gguf").stat().st_size
    assert sound
    assert "no repository acme/nothing" in said
    assert set(storage.tokens) == {""}
