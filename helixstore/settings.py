"""The settings of a person on a host: the environment over the person's file over the site's over the defaults.

    store = "/models"                   where the store is
    share = "all"                       all | duplicates | chosen
    adopt = "link"                      link | ask | off
    exclude = ["~/private/**"]          never looked at
    scan = ["~/models"]                 loose folders of the person's
    grace = "24h"                       condemned blobs wait that long before they move to the trash
    undo_window = "7d"                  and that long in it
    lease = "6h"                        what a container or CI run claims is kept that long after its last command
    local_namespace = "local-1a2b"      in the hub cache, for models that are on no hub
    public = ["org/*"]                  hub repositories that everybody may read, for a store that a group fills
    trust_hub_names = false             believe other members which repository of the hub their models are, unasked
    rescan = "10m"                      `watch` looks at everything that often, whatever it has heard
    poll = "5s"                         and that often at what it cannot hear, such as a network file system
    verify = "30d"                      `watch` reads every blob once in that time, in the background; 0: never
    mirror = "oci://nas:5000/models"    a registry of this site, which is asked for files before the internet
    insecure_registries = ["nas:5000"]  registries that speak plain HTTP, or have certificates that nobody vouches for
    settle = "10m"                      a file is left alone that long where nobody can tell who writes it
    memory = "16GB"                     what a model may take when it runs, instead of what is found here
    gpu = "auto"                        auto | cuda | rocm | metal | none
    [providers.ollama]
    on = true
    root = "/srv/ollama"
    links = ["hard", "reflink"]

Each key has an environment variable: HELIXSTORE_SHARE, HELIXSTORE_PROVIDERS_OLLAMA_ROOT. A key that nobody knows is
kept in the file and reported; a value that makes no sense stops the command, naming the file and the key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from helixstore import setting_values as valid
from helixstore.errors import ConfigError, Usage, advice
from helixstore.fs.private import make_private, read_trusted, why_open
from helixstore.places import Places
from helixstore.values import Issue, LinkKind

__all__ = ["ProviderSettings", "Setting", "Settings", "listing", "load", "new_namespace", "set_value",
           "set_values"]

_PREFIX = "HELIXSTORE_"
#: Variables that say where things lie or what kind of host this is; they are no settings.
_NOT_SETTINGS = frozenset({"HELIXSTORE_INDEX", "HELIXSTORE_EPHEMERAL", "HELIXSTORE_DEBUG", "HELIXSTORE_PLUGINS"})


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What the person says about one provider. None: nothing, so the layout's own answer holds.

    Attributes:
        on: whether models are shared with it.
        root: the folder it reads, absolute.
        links: the link kinds allowed there, in order.
    """

    on: bool | None = None
    root: Path | None = None
    links: tuple[LinkKind, ...] | None = None


@dataclass(frozen=True)
class Settings:
    """All settings, decided.

    Attributes:
        store: the store's folder, absolute; None: the default place.
        share: "all", "duplicates" (only what lies here twice) or "chosen".
        adopt: "link", "ask" or "off".
        exclude: glob patterns of absolute paths that are never looked at, `~` expanded.
        scan: loose folders to look for models in, absolute.
        grace: seconds a condemned blob waits before it moves to the trash.
        undo_window: seconds it waits in the trash.
        lease: seconds for which the claims of an ephemeral host outlive its last command.
        local_namespace: owner part of hub names that we make up.
        public: glob patterns of hub repositories that everybody may read; a group's store takes these in by itself.
        trust_hub_names: whether a model is shown as a repository of the hub by another member's word alone; else the
            hub is asked first.
        rescan: seconds between two full scans of `watch`.
        poll: seconds between two looks of `watch` at what it cannot hear.
        verify: seconds in which `watch` reads every blob once; 0 for never.
        mirror: `oci://host[:port][/prefix]`, a registry that downloads ask first; "" for none.
        insecure_registries: `host[:port]` of registries that may speak plain HTTP, or be vouched for by nobody.
        settle: seconds that a file is unchanged before `watch` takes it, where nobody can tell who writes it.
        memory: bytes that a model may take when it runs; None: what is found.
        gpu: the kind of GPU, or "auto": what is found.
        providers: by provider name; ask `provider` for one.
        origins: dotted key -> where its value comes from; keys at their default are missing.
        issues: keys that are not known.
    """

    store: Path | None = None
    share: str = "all"
    adopt: str = "link"
    exclude: tuple[str, ...] = ()
    scan: tuple[Path, ...] = ()
    grace: float = 24 * 3600.0
    undo_window: float = 7 * 24 * 3600.0
    lease: float = 6 * 3600.0
    local_namespace: str = "local-helixstore"
    public: tuple[str, ...] = ()
    trust_hub_names: bool = False
    rescan: float = 600.0
    poll: float = 5.0
    verify: float = 30 * 86_400.0
    mirror: str = ""
    insecure_registries: tuple[str, ...] = ()
    settle: float = 600.0
    memory: int | None = None
    gpu: str = "auto"
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()

    def origin(self, key: str) -> str:
        """Where the value of a dotted key comes from: a variable's name, a file's path, or "default"."""
        return self.origins.get(key, "default")

    def provider(self, name: str) -> ProviderSettings:
        """What the person says about one provider."""
        return self.providers.get(name) or ProviderSettings()


class Setting(NamedTuple):
    """One line of `config list`: dotted key, value as TOML would hold it (None: not set), and where it comes from."""

    key: str
    value: Any
    origin: str


#: Key -> what makes a value of it; raises valid.Bad.
_KEYS: dict[str, Callable[[Any, valid.Origin], Any]] = {
    "store": valid.path,
    "share": valid.one_of("all", "duplicates", "chosen"),
    "adopt": valid.one_of("link", "ask", "off"),
    "exclude": valid.patterns,
    "scan": valid.paths,
    "grace": valid.seconds,
    "undo_window": valid.seconds,
    "lease": valid.seconds,
    "local_namespace": valid.namespace,
    "public": valid.repositories,
    "trust_hub_names": valid.switch,
    "rescan": valid.seconds,
    "poll": valid.seconds,
    "verify": valid.seconds,
    "mirror": valid.mirror,
    "insecure_registries": valid.hosts,
    "settle": valid.seconds,
    "memory": valid.size,
    "gpu": valid.one_of("auto", "cuda", "rocm", "metal", "none"),
}
_PROVIDER_KEYS: dict[str, Callable[[Any, valid.Origin], Any]] = {
    "on": valid.switch, "root": valid.path, "links": valid.links,
}


def load(places: Places, environ: Mapping[str, str] | None = None) -> Settings:
    """Read all settings.

    Args:
        places: says which files there are.
        environ: environment variables; those of `places` by default.

    Raises:
        ConfigError: a file cannot be read or is no TOML, or a value makes no sense; names the file and the key.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    issues: list[Issue] = []

    def take(pairs: Iterator[tuple[str, Any]], origin: valid.Origin) -> None:
        for key, value in pairs:
            if (check := _check_of(key)) is None:
                issues.append(Issue("config", origin.name, f"nobody knows the setting {key}", _meant(key)))
            else:
                values[key] = _checked(check, key, value, origin)
                origins[key] = origin.name

    for file in (*places.site_config_files, places.config_file):
        site = file != places.config_file
        table, why = _read(file, site)
        if why:
            left = ", so the file is left out" if site else ", so others could change what helixstore does for you"
            issues.append(Issue("config", str(file), why + left, f"chmod go-w {file.parent} {file}"))
        if not (why and site):
            take(_flat(table), valid.Origin(str(file), places.home, places.home, text=False))
    for name, value in sorted((places.environ if environ is None else environ).items()):
        if name.startswith(_PREFIX) and name not in _NOT_SETTINGS and value.strip():
            take(iter([(_key_of(name), value)]), valid.Origin(name, _working(places), places.home, text=True))
    providers: dict[str, dict[str, Any]] = {}
    for key in [key for key in values if key.startswith("providers.")]:
        _, provider, name = key.split(".")
        providers.setdefault(provider, {})[name] = values.pop(key)
    return Settings(**values, providers={name: ProviderSettings(**found) for name, found in providers.items()},
                    origins=origins, issues=tuple(issues))


def listing(settings: Settings) -> list[Setting]:
    """Every key with its value and origin; of providers, those that are set."""
    found = [Setting(key, _plain(getattr(settings, key)), settings.origin(key)) for key in _KEYS]
    for name in sorted(settings.providers):
        for key in _PROVIDER_KEYS:
            dotted = f"providers.{name}.{key}"
            if dotted in settings.origins:
                value = getattr(settings.providers[name], key)
                found.append(Setting(dotted, _plain(value), settings.origin(dotted)))
    return found


def set_value(places: Places, key: str, value: Any, dry_run: bool = False, file: Path | None = None) -> Any:
    """Write one setting, as `set_values` does; the value as it stands in the file."""
    return set_values(places, {key: value}, dry_run, file)[key]


def set_values(places: Places, values: Mapping[str, Any], dry_run: bool = False, file: Path | None = None,
               ) -> dict[str, Any]:
    """Write settings into the person's file in one step, keeping its comments and all else.

    Args:
        places: says which file.
        values: by dotted key: "share", "providers.ollama.root". As TOML would hold it, or a text as the environment
            would hold it (lists separated by commas, paths by the system's path separator, or as TOML has them).
            Relative paths are counted from the working directory. None takes the key out.
        dry_run: only check the keys and the values.
        file: another one, such as the site's; everybody may read it, whatever the umask.

    Returns:
        The values as they stand in the file.

    Raises:
        Usage: there is no such key, or a value makes no sense.
        ConfigError: the file cannot be read or written.
    """
    checked = {key: _meaning(places, key, value) for key, value in values.items()}
    if dry_run or not checked:
        return checked

    from filelock import FileLock

    place = os.path.realpath(file or places.config_file)    # people keep it as a link into a versioned folder
    try:
        make_private(os.path.dirname(place))
        make_private(places.state)
        with FileLock(places.state / "config.lock"):        # two at once would lose one's change
            _edit(place, checked)
    except OSError as error:
        raise ConfigError(f"{', '.join(checked)} cannot be written to {place}: {error.strerror or error}",
                          advice(error, "see that the folder can be written to"), place) from error
    return checked


def _meaning(places: Places, key: str, value: Any) -> Any:
    """A value as the file will have it.

    Raises:
        Usage: there is no such key, or the value makes no sense.
    """
    if (check := _check_of(key)) is None:
        raise Usage(f"there is no setting {key}", _meant(key) or "`helixstore config list` shows them all")
    if value is None:
        return None
    origin = valid.Origin("the command line", _working(places), places.home, text=isinstance(value, str))
    try:
        return _plain(check(_plain(value), origin))
    except valid.Bad as error:
        raise Usage(f"{key} {error}, and is {value!r}", f"helixstore config set {key} VALUE") from error


def new_namespace() -> str:
    """An owner name that nobody has on a hub, for `local_namespace`; different each time."""
    import secrets

    return f"local-{secrets.token_hex(4)}"


def _edit(file: str, values: Mapping[str, Any]) -> None:
    """Change keys of a TOML file in one step."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from helixstore.fs import kernel

    mode = 0o644
    try:
        with open(file, "rb") as reading:
            text = reading.read().decode()
        mode = os.stat(file).st_mode & 0o777
        document = tomlkit.parse(text)
    except FileNotFoundError:
        document = tomlkit.document()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}", "mend the file, then try again", file) from error
    put = [_put(document, file, key, value) for key, value in values.items()]
    if any(put):
        kernel.replace_file(file, tomlkit.dumps(document).encode(), mode)


def _put(document: Any, file: str, key: str, value: Any) -> bool:
    """Change one key of a document; False when it is to go, and there is not even a table for it."""
    import tomlkit

    *parents, last = key.split(".")
    table = document
    for depth, name in enumerate(parents):
        if name not in table:
            if value is None:
                return False
            table[name] = tomlkit.inline_table() if isinstance(table, tomlkit.items.InlineTable) else (
                tomlkit.table(is_super_table=depth == 0))
        table = table[name]
        if not isinstance(table, Mapping):
            raise ConfigError(f"{file}: {'.'.join(parents[:depth + 1])} must be a table", "mend the file", file)
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value
    return True


def _working(places: Places) -> Path:
    """The working directory; home when it has been deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return places.home


def _read(file: Path, site: bool) -> tuple[Mapping[str, Any], str]:
    """The file as TOML, empty when it does not exist; and why others could have written it, or ""."""
    try:
        data, why = read_trusted(file, site)
        why = why or why_open(os.stat(file.parent), site)
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}", "check its permissions", file) from error
    import tomllib

    try:
        return tomllib.loads(data.decode()), why
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}", "mend the file", file) from error


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; only `providers` and its tables are gone into."""
    for key, value in table.items():
        if key != "providers" or not isinstance(value, Mapping):
            yield key, value
            continue
        for provider, inner in value.items():
            if not isinstance(inner, Mapping):
                yield f"providers.{provider}", inner
                continue
            for name, one in inner.items():
                yield f"providers.{provider}.{name}", one


def _key_of(variable: str) -> str:
    """HELIXSTORE_PROVIDERS_OLLAMA_ROOT -> providers.ollama.root."""
    name = variable[len(_PREFIX):].lower()
    if name.startswith("providers_") and name.count("_") >= 2:
        provider, _, key = name[len("providers_"):].rpartition("_")
        return f"providers.{provider}.{key}"
    return name


def _check_of(key: str) -> Callable[[Any, valid.Origin], Any] | None:
    """What checks values of a dotted key; None when there is no such key."""
    if key in _KEYS:
        return _KEYS[key]
    parts = key.split(".")
    known = len(parts) == 3 and parts[0] == "providers" and bool(parts[1])
    return _PROVIDER_KEYS.get(parts[2]) if known else None


def _checked(check: Callable[[Any, valid.Origin], Any], key: str, value: Any, origin: valid.Origin) -> Any:
    try:
        return check(value, origin)
    except valid.Bad as error:
        raise ConfigError(f"{origin.name}: {key} {error}, and is {value!r}", f"helixstore config set {key} VALUE",
                          origin.name if os.path.isabs(origin.name) else None) from error


def _meant(key: str) -> str:
    """The key that was meant, as a remedy."""
    import difflib

    parts = key.split(".")
    known = [*_KEYS, *(f"providers.{parts[1]}.{name}" for name in _PROVIDER_KEYS if len(parts) == 3)]
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else ""


def _plain(value: Any) -> Any:
    """A value as TOML and JSON hold it."""
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, LinkKind):
        return value.value
    return int(value) if isinstance(value, float) and value.is_integer() else value
