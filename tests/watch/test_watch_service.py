"""The service that runs the watch: a unit or an agent that the system takes, written once, and gone afterwards."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from watched import Home

from helixstore import HelixStore
from helixstore.session import Session
from helixstore.watch import service

UNIT = ".config/systemd/user/helixstore-watch.service"


def test_it_is_written_once_and_says_how_to_start_it(home: Home) -> None:
    unit = home.home / UNIT
    assert home.document("watch", "--install", "--dry-run")["changed"] is True
    assert not unit.exists()
    done = home.document("watch", "--install")
    assert (done["path"], done["changed"], done["running"]) == (str(unit), True, False)
    assert done["command"] == "systemctl --user enable --now helixstore-watch.service"
    assert home.document("watch", "--install")["changed"] is False
    assert home.document("watch", "--uninstall")["changed"] is True
    assert not unit.exists()
    assert home.document("watch", "--uninstall")["changed"] is False


def test_it_sees_the_folders_that_the_shell_names(home: Home) -> None:
    """Variables that a layout asks for, and ours; no others; with every character that a unit file treats in its own
    way."""
    strange = f'{home.home}/a "b" 100% $HOME \\'
    home.environ |= {"OLLAMA_MODELS": strange, "HELIXSTORE_SHARE": "all", "SECRET_TOKEN": "x"}
    home.helix("watch", "--install")
    text = (home.home / UNIT).read_text()
    escaped = strange.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    assert f'Environment="OLLAMA_MODELS={escaped}"' in text.splitlines()
    assert 'Environment="HELIXSTORE_SHARE=all"' in text.splitlines()
    assert "SECRET" not in text
    assert "Type=notify" in text
    assert "Nice=10" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_it(home: Home) -> None:
    home.environ["OLLAMA_MODELS"] = f"{home.home}/with space/100%"
    home.helix("watch", "--install")
    done = subprocess.run(["systemd-analyze", "verify", "--user", str(home.home / UNIT)], capture_output=True,
                          text=True, env={**home.environ, "XDG_RUNTIME_DIR": str(home.home)}, check=False)
    about = [line for line in (done.stdout + done.stderr).splitlines() if "helixstore-watch" in line]
    assert done.returncode == 0, done.stderr
    assert about == []


def test_a_store_that_is_named_has_a_service_of_its_own(home: Home) -> None:
    with HelixStore(home.home / "second store", environ=home.environ) as store:
        done = store.watch_service()
        text = done.path.read_text()
    assert done.path.name.startswith("helixstore-watch-")
    assert f'"--store" "{home.home}/second store"' in text
    with HelixStore(home.home / "second store", environ=home.environ) as store:
        assert store.watch_service(install=False).changed
    assert not done.path.exists()


def test_on_macos_it_is_an_agent_of_launchd(home: Home) -> None:
    session = Session(home.environ)
    assert session.store.id
    session.__dict__["places"] = replace(session.places, platform="darwin")
    done = service.install(session)
    agent = plistlib.loads(done.path.read_bytes())
    assert done.path == home.home / "Library/LaunchAgents" / f"{agent['Label']}.plist"
    assert agent["ProgramArguments"][1:] == ["-m", "helixstore", "watch"]
    assert (agent["ProcessType"], agent["LowPriorityIO"], agent["RunAtLoad"]) == ("Background", True, True)
    assert done.command.startswith("launchctl bootstrap gui/")
    assert service.uninstall(session).changed
    assert not Path(done.path).exists()
    session.close()
