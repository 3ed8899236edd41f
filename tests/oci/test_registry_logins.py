"""Logins where Docker and Podman keep them, certificates where they look for them, against a real registry."""

from __future__ import annotations

import base64
import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wares import QUICK, sha256

from helixstore.errors import ConfigError, Failed, HelixError
from helixstore.oci.access import Access
from helixstore.oci.logins import DOCKER_HUB, Login, Logins
from helixstore.oci.reference import Reference
from helixstore.oci.registry import Registry
from support.registry import StandIn, authority, docker_registry, serve

HELPER = """#!/bin/sh
[ "$1" = get ] || exit 9
read -r key
case "$key" in
  r.example) echo '{"ServerURL":"x","Username":"ana","Secret":"from-the-helper"}' ;;
  token.example) echo '{"ServerURL":"x","Username":"<token>","Secret":"refresh-token"}' ;;
  broken.example) echo 'a secret that must not be shown'; echo 'neither this secret' >&2; exit 3 ;;
  odd.example) echo 'no json with a secret' ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def helper(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Variables with a credential helper `docker-credential-here` on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-here"
    program.write_text(HELPER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return environ | {"PATH": f"{folder}:{environ['PATH']}"}


def test_where_logins_are_looked_for(environ: dict[str, str], tmp_path: Path) -> None:
    home = Path(environ["HOME"])
    environ |= {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    places = [(home / ".config/containers/auth.json", {}), (tmp_path / "run/containers/auth.json", {}),
              (home / ".docker/config.json", {}), (tmp_path / "docker/config.json", {"DOCKER_CONFIG": "docker"}),
              (tmp_path / "named.json", {"REGISTRY_AUTH_FILE": "named.json"})]
    assert Logins(environ).find("r.example") is None
    for number, (path, more) in enumerate(places):
        write(path, {"auths": {"r.example": auth("ana", f"password{number}")}})
        environ |= {key: str(tmp_path / value) for key, value in more.items()}
        assert Logins(environ).find("r.example") == Login("ana", f"password{number}")
        assert Logins(environ).find("other.example") is None


@pytest.mark.parametrize("key", ["r.example", "https://r.example", "https://r.example/v1/", "http://r.example/v2/"])
def test_how_a_registry_may_be_called(environ: dict[str, str], key: str) -> None:
    write(Path(environ["HOME"], ".docker/config.json"), {"auths": {key: auth("ana", "x")}})
    assert Logins(environ).find("r.example") == Login("ana", "x")
    assert Logins(environ).find("r.example:5000") is None


def test_dockers_own_hub(environ: dict[str, str]) -> None:
    write(Path(environ["HOME"], ".docker/config.json"),
          {"auths": {f"https://index.{DOCKER_HUB}/v1/": auth("ana", "x")}})
    assert Logins(environ).find(DOCKER_HUB) == Login("ana", "x")


def test_a_login_for_a_part_of_a_registry(environ: dict[str, str]) -> None:
    write(Path(environ["HOME"], ".config/containers/auth.json"), {"auths": {
        "r.example": auth("all", "x"), "r.example/team": auth("team", "x"), "r.example/team/one": auth("one", "x")}})
    logins = Logins(environ)
    found = [logins.find("r.example", name) for name in ("other", "team", "team/two", "team/one/x", "teams")]
    assert [login.user if login else "" for login in found] == ["all", "team", "team", "one", "all"]


@pytest.mark.parametrize("content", [{"credHelpers": {"r.example": "here", "token.example": "here"}},
                                     {"credsStore": "here", "auths": {"r.example": {}}}])
def test_a_credential_helper_is_asked(helper: dict[str, str], content: dict[str, Any]) -> None:
    write(Path(helper["HOME"], ".docker/config.json"), content)
    assert Logins(helper).find("r.example") == Login("ana", "from-the-helper")
    assert Logins(helper).find("token.example") == Login(identity="refresh-token")
    assert Logins(helper).find("nobody.example") is None


@pytest.mark.parametrize("host", ["broken.example", "odd.example"])
def test_a_helper_that_fails_tells_no_secret(helper: dict[str, str], host: str) -> None:
    write(Path(helper["HOME"], ".docker/config.json"), {"credsStore": "here"})
    with pytest.raises(Failed, match="docker-credential-here") as caught:
        Logins(helper).find(host)
    assert "secret" not in str(caught.value) + caught.value.remedy


@pytest.mark.parametrize("name", ["../../tmp/evil", "no-such-helper", "a b", "x;touch y", ""])
def test_only_a_helper_of_that_name_is_run(helper: dict[str, str], name: str) -> None:
    write(Path(helper["HOME"], ".docker/config.json"), {"credHelpers": {"r.example": name}})
    with pytest.raises(Failed, match="which is not there"):
        Logins(helper).find("r.example")


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"auths": {"r.example": {"auth": "%%%"}}}', "[" * 100_000,
                                  '{"auths": {"r.example": {"auth": "bm8gY29sb24="}}}'])
def test_a_configuration_that_is_none(environ: dict[str, str], text: str) -> None:
    write(Path(environ["HOME"], ".docker/config.json"), text)
    with pytest.raises(ConfigError) as caught:
        Logins(environ).find("r.example")
    assert caught.value.path == f"{environ['HOME']}/.docker/config.json"


def test_a_login_shows_nothing() -> None:
    login = Login("ana", "pass", "identity", "token")
    assert repr(login) == "Login()"


def test_a_refresh_token_gets_another(stand_in: StandIn, environ: dict[str, str]) -> None:
    stand_in.realm = f"http://{stand_in.host}/token"
    write(Path(environ["HOME"], ".docker/config.json"), {"auths": {stand_in.host: {"identitytoken": "the-refresh"}}})
    Registry(Reference(stand_in.host, "team/model"), Access.of(environ, patience=QUICK)).size("0" * 64)
    [method] = [method for method, path, _ in stand_in.seen if path == "/token"]
    assert method == "POST"


def test_a_proxy_is_used_and_not_shown(stand_in: StandIn, environ: dict[str, str]) -> None:
    """The stand-in is the proxy here: it is asked for a host that does not exist."""
    stand_in.put(b"some bytes")
    environ |= {"http_proxy": f"http://ana:proxy-password@{stand_in.host}", "NO_PROXY": "other.example"}
    environ["https_proxy"] = environ["http_proxy"]
    access = Access.of(environ, insecure=frozenset({"registry.example"}), patience=QUICK)
    assert Registry(Reference("registry.example", "team/model"), access).size(sha256(b"some bytes")) == 10
    assert stand_in.seen[-1][1].startswith("http://registry.example/v2/team/model/blobs/")
    told = base64.b64encode(b"ana:proxy-password").decode()
    assert stand_in.seen[-1][2]["proxy-authorization"] == f"Basic {told}"
    stand_in.answers = [("/blobs/", 500, {})] * 9
    with pytest.raises(HelixError) as caught:
        Registry(Reference("registry.example", "team/model"), access).size("0" * 64)
    assert "proxy-password" not in str(caught.value)
    assert access.proxy("https", "other.example") is None
    assert access.proxy("https", "127.0.0.1:5000") is None


# ---- a real registry with a password and a private authority ---------------------------------------------------------

@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(certificates: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry with TLS and a password."""
    if shutil.which("htpasswd") is None:
        pytest.skip("htpasswd (Debian's apache2-utils) is not installed")
    folder = tmp_path_factory.mktemp("guarded")
    with docker_registry(folder, login=("ana", "pa:ss"), tls=certificates[1:]) as host:
        yield host


def works(access: Access, host: str) -> None:
    registry = Registry(Reference(host, "team/model"), access)
    registry.push_small(b"some bytes", sha256(b"some bytes"))
    with registry.blob(sha256(b"some bytes"), 10, 5) as stream:
        assert b"".join(stream) == b"bytes"


def test_a_private_authority_and_a_password(
        guarded: str, certificates: tuple[Path, Path, Path], environ: dict[str, str]) -> None:
    write(Path(environ["HOME"], ".docker/config.json"), {"auths": {guarded: auth("ana", "pa:ss")}})
    access = Access.of(environ, patience=QUICK)
    with pytest.raises(Failed, match="nobody that this computer trusts vouches") as caught:
        works(access, guarded)
    assert f"/etc/docker/certs.d/{guarded}/ca.crt" in caught.value.remedy
    folder = Path(environ["HOME"], ".config/containers/certs.d", guarded)
    folder.mkdir(parents=True)
    shutil.copy(certificates[0], folder / "ca.crt")
    works(Access.of(environ, patience=QUICK), guarded)
    write(Path(environ["HOME"], ".docker/config.json"), {"auths": {guarded: auth("ana", "wrong-password")}})
    with pytest.raises(Failed, match="does not let one") as caught:
        works(Access.of(environ, patience=QUICK), guarded)
    assert caught.value.remedy.endswith(f"docker login {guarded}")
    assert "wrong-password" not in str(caught.value)


def test_a_registry_that_is_said_to_be_insecure(guarded: str, environ: dict[str, str]) -> None:
    write(Path(environ["HOME"], ".docker/config.json"), {"auths": {guarded: auth("ana", "pa:ss")}})
    works(Access.of(environ, insecure=frozenset({guarded}), patience=QUICK), guarded)


@pytest.mark.parametrize(("file", "text"), [
    (".config/docker/daemon.json", '{"insecure-registries": ["HOST"], "debug": true}'),
    (".docker/daemon.json", '{"insecure-registries": ["http://HOST"]}'),
    (".docker/daemon.json", '{"insecure-registries": ["10.0.0.0/8", "127.0.0.0/8", "no network/9"]}'),
    (".config/containers/registries.conf", '[[registry]]\nlocation = "HOST/team"\ninsecure = true\n'),
    (".config/containers/registries.conf", '[[registry]]\nprefix = "HOST"\ninsecure = true\n'),
])
def test_a_registry_that_docker_or_podman_is_told_is_insecure(
        guarded: str, environ: dict[str, str], file: str, text: str) -> None:
    """Its certificate is nobody's that this computer trusts."""
    write(Path(environ["HOME"], ".docker/config.json"), {"auths": {guarded: auth("ana", "pa:ss")}})
    with pytest.raises(Failed, match="nobody that this computer trusts vouches"):
        works(Access.of(environ, patience=QUICK), guarded)
    write(Path(environ["HOME"], file), text.replace("HOST", guarded))
    works(Access.of(environ, patience=QUICK), guarded)


def test_what_docker_says_of_others_is_nothing_of_this_one(environ: dict[str, str]) -> None:
    write(Path(environ["HOME"], ".docker/daemon.json"), {
        "insecure-registries": ["nas:5000", "10.1.0.0/16", "fd00::/8"]})
    write(Path(environ["HOME"], ".config/containers/registries.conf"), '[[registry]]\nlocation = "other.example"\n')
    access = Access.of(environ)
    plain = {"nas:5000", "10.1.2.3", "10.1.255.1:5000", "[fd00::1]:5000", "localhost:5000"}
    for host in (*plain, "nas", "nas:5001", "10.2.0.1", "other.example", "10.1.2.3.example", "[fe80::1]"):
        assert access.may_be_plain(host) is (host in plain), host


@pytest.mark.parametrize(("file", "text"), [(".docker/daemon.json", "{"), (".docker/daemon.json", "[]"),
                                            (".docker/daemon.json", '{"insecure-registries": 3}'),
                                            (".config/containers/registries.conf", "[[registry"),
                                            (".config/containers/registries.conf", "registry = 3")])
def test_such_a_configuration_that_is_none(environ: dict[str, str], file: str, text: str) -> None:
    write(Path(environ["HOME"], file), text)
    with pytest.raises(ConfigError) as caught:
        Access.of(environ)
    assert caught.value.path == f"{environ['HOME']}/{file}"


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
def test_a_certificate_that_is_none(environ: dict[str, str], name: str) -> None:
    write(Path(environ["HOME"], ".docker/certs.d/127.0.0.1:1", name), "no certificate")
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        Registry(Reference("127.0.0.1:1", "a"), Access.of(environ, patience=QUICK)).manifest()
    assert name in (caught.value.path or "")


def test_the_certificate_of_a_client(certificates: tuple[Path, Path, Path], environ: dict[str, str]) -> None:
    """Ours is shown where there is a pair for it."""
    with serve(StandIn(certificates[1:], certificates[0])) as registry:
        folder = Path(environ["HOME"], ".docker/certs.d", registry.host)
        folder.mkdir(parents=True)
        shutil.copy(certificates[0], folder / "ca.crt")
        subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                        folder / "client.key", "-out", folder / "req", "-subj", "/CN=ana"], check=True,
                       capture_output=True)
        subprocess.run(["openssl", "x509", "-req", "-in", folder / "req", "-CA", certificates[0], "-CAkey",
                        certificates[0].with_name("ca.key"), "-out", folder / "client.cert", "-CAcreateserial"],
                       check=True, capture_output=True)
        works(Access.of(environ, patience=QUICK), registry.host)
        (folder / "client.cert").unlink()
        with pytest.raises(HelixError):
            works(Access.of(environ, patience=QUICK), registry.host)
