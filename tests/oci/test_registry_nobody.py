"""Who is known to a registry, and what somebody gets who is not: what may enter a store that a group reads."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from wares import QUICK

from helixstore.download.registries import for_all
from helixstore.errors import HelixError
from helixstore.oci.access import Access
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry
from support.registry import StandIn, authority, serve

MANIFEST = {"schemaVersion": 2, "layers": []}


def test_a_certificate_tells_who_somebody_is_as_a_login_does(environ: dict[str, str], tmp_path: Path) -> None:
    ca, crt, key = authority(tmp_path / "authority")
    with serve(StandIn((crt, key), ca)) as registry:
        digest = registry.tag("v1", MANIFEST)
        folder = Path(environ["HOME"], ".docker/certs.d", registry.host)
        folder.mkdir(parents=True)
        shutil.copy(ca, folder / "ca.crt")
        subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                        folder / "client.key", "-out", folder / "req", "-subj", "/CN=ana"], check=True,
                       capture_output=True)
        subprocess.run(["openssl", "x509", "-req", "-in", folder / "req", "-CA", ca, "-CAkey", ca.with_name("ca.key"),
                        "-out", folder / "client.cert", "-CAcreateserial"], check=True, capture_output=True)
        reference, access = Reference(registry.host, "team/model", "v1"), Access.of(environ, patience=QUICK)
        asked = Registry(reference, access)
        assert asked.manifest().sha256 == digest
        assert asked.logged_in
        assert not for_all(reference, access)
        with pytest.raises(HelixError):
            Registry(reference, access.as_nobody()).manifest()


def test_an_authority_alone_says_nothing_of_anybody(environ: dict[str, str], tmp_path: Path) -> None:
    ca, crt, key = authority(tmp_path / "authority")
    with serve(StandIn((crt, key))) as registry:
        registry.tag("v1", MANIFEST)
        folder = Path(environ["HOME"], ".docker/certs.d", registry.host)
        folder.mkdir(parents=True)
        shutil.copy(ca, folder / "ca.crt")
        reference, access = Reference(registry.host, "team/model", "v1"), Access.of(environ, patience=QUICK)
        asked = Registry(reference, access)
        asked.manifest()
        assert not asked.logged_in
        assert for_all(reference, access)


def test_others_must_get_that_very_model_and_not_only_some_model_of_its_name(
    stand_in: StandIn, environ: dict[str, str], opened: Callable[..., Registry],
) -> None:
    stand_in.tag("v1", MANIFEST)
    access = Access.of(environ, patience=QUICK)
    reference = opened(stand_in.host).reference
    assert for_all(reference, access)
    assert not for_all(reference.at("ab" * 32), access)
