"""Which weights a backbone gets, by name and hash, and how they are read without running code from the file.

Only `assemble` needs torch: a plan asks for the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.engine.fingerprint import fingerprint
from pipeline.files.packaged import PackagedFile
from pipeline.files.storage import sha256_once
from pipeline.files.weights_file import Module, WeightsFile, drawn, widened
from pipeline.net.fetch import cache_folder, fetch
from pipeline.net.hub import HubFile
from pipeline.net.look import OutsideFile
from schemas.command import Command
from schemas.config import BackboneConfig
from schemas.errors import UsageError
from schemas.random_weights import RANDOM, is_random, seed_of

SETTING = "backbone.weights"
DEFAULT = "default"

_BEGINS = (b"PK", b"\x80")  # files of torch: a zip archive, or a pickle as it wrote them before 1.6


@dataclass(frozen=True)
class Published:
    """Weights that anyone can fetch.

    Attributes:
        name: as their publisher calls them.
        address: of the file; its last segment names the file in the cache. Of a packaged one: of the package.
        sha256: the hash, or as much of it as the publisher tells; None where it tells nothing: recorded at first use.
        licence: what the publisher says about using them.
        size_bytes: of the file; None where it is not known.
        packaged: the file inside a package that pip installs, from which it is read; None where it is fetched.
        hub: the file, where a hub has it at that address.
        terms: what a user should know of the licence before anything is made; None where it lets everybody use them.
    """

    name: str
    address: str
    sha256: str | None
    licence: str
    size_bytes: int | None = None
    packaged: PackagedFile | None = None
    hub: HubFile | None = None
    terms: str | None = None


def source(config: BackboneConfig) -> str | None:
    """Path of the weights file where the user names one: its hash shapes the features."""
    return None if config.weights == DEFAULT or is_random(config.weights) else config.weights


def label(config: BackboneConfig, published: Published | None) -> str:
    """The weights' name for recipes and cards, without the path on this machine.

    Raises:
        UsageError: the setting asks for published weights that do not exist, or for a seed that is no number.
    """
    seed = _seed(config)
    if seed is not None:
        return f"{RANDOM}{seed}"
    path = source(config)
    return Path(path).name if path else _require(published, config).name


def sha256(config: BackboneConfig, published: Published | None) -> str:
    """Hash of the weights file, fetched if need be. Random weights have no file: the hash of backbone, size and seed.

    Raises:
        PipelineError: there is no such file, or it cannot be fetched.
        IntegrityError: it is not the published one.
    """
    seed = _seed(config)
    if seed is not None:
        return fingerprint([config.name, RANDOM, seed])
    return sha256_once(_local(config, published))


def licence(config: BackboneConfig, published: Published | None) -> str:
    """What is known about using the weights, for the feature card."""
    if _seed(config) is not None:
        return "random, nobody's"
    return "those of the file's author" if source(config) else _require(published, config).licence


def terms(config: BackboneConfig, published: Published | None) -> str | None:
    """What a user should know of the licence of the weights; None where there is nothing to know, or to be known."""
    if config.weights != DEFAULT or published is None or published.terms is None:
        return None
    return f"weights {published.name}: {published.terms}"


def outside_file(config: BackboneConfig, published: Published | None) -> OutsideFile | None:
    """The weights' file, for whoever looks before it is fetched; None where weights are random.

    Raises:
        UsageError: as `label`.
    """
    if _seed(config) is not None:
        return None
    if (path := source(config)) is not None:
        return OutsideFile(SETTING, path, begins=_begins(path))
    known = _require(published, config)
    if known.packaged is not None:
        path = str(known.packaged.located(_shown(config)))
        return OutsideFile(SETTING, path, sha256=known.sha256, size_bytes=known.size_bytes, begins=_BEGINS)
    begins = _begins(_kept(known).name)
    return OutsideFile(SETTING, known.address, _kept(known), known.sha256, known.size_bytes, begins)


def require_installed(config: BackboneConfig, published: Published | None) -> None:
    """See that weights which come in a package are here.

    Raises:
        UsageError: they are not, or as `label`.
    """
    if published is not None and published.packaged is not None and config.weights == DEFAULT:
        published.packaged.located(_shown(config))


def assemble(
    create: Callable[[], Module],
    config: BackboneConfig,
    published: Published | None,
    load: Callable[[WeightsFile], Module] | None = None,
) -> Module:
    """A network with these weights, in evaluation mode; where the file allows it, they stay in the file until used.

    Args:
        create: makes the network with weights of torch's own random initialisation.
        load: makes it of a file, where tensors may have other names there; without, they have those of the network.

    Raises:
        PipelineError: the file cannot be had, cannot be read, or fits another network.
        IntegrityError: it is not the published one.
    """
    import torch

    seed = _seed(config)
    if seed is not None:
        return drawn(create, seed).eval()
    file = _file(_local(config, published), config)
    if load is not None:
        return load(file).eval()
    with torch.device("meta"):
        network = create()
    found = file.read()
    file.require_fit({key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}, found)
    network.load_state_dict(widened(found), assign=True)
    return network.eval()


def _begins(name: str) -> tuple[bytes, ...]:
    return () if name.endswith(".safetensors") else _BEGINS


def _seed(config: BackboneConfig) -> int | None:
    try:
        return seed_of(config.weights)
    except ValueError as error:
        raise UsageError(f"{SETTING} = {config.weights!r}:", expected=f"{error}, for example {RANDOM}0") from None


def _require(published: Published | None, config: BackboneConfig) -> Published:
    if published is None:
        raise UsageError(
            f"{SETTING} = {DEFAULT!r}: backbone {config.name!r} has no published weights",
            expected="a path or a seed",
            hint="Run with:",
            run=Command(sets={SETTING: f"{RANDOM}0"}),
        )
    return published


def _shown(config: BackboneConfig) -> str:
    return f"{SETTING} = {config.weights!r} of backbone {config.name!r}"


def _local(config: BackboneConfig, published: Published | None) -> Path:
    path = source(config)
    if path is not None:
        if not Path(path).is_file():
            got = "a folder" if Path(path).is_dir() else "no file"
            raise _file(Path(path), config).refused(got, f"a file of weights, {DEFAULT!r} or '{RANDOM}SEED'")
        return Path(path)
    known = _require(published, config)
    if known.packaged is not None:
        return known.packaged.checked(_shown(config))
    return _fetched_once(known, _kept(known))


def _file(path: Path, config: BackboneConfig) -> WeightsFile:
    return WeightsFile(path, SETTING, "extract", f"backbone {config.name!r}")


def _kept(published: Published) -> Path:
    """Where the file lies, or will: the hub's client may have fetched it for somebody else."""
    if published.hub is not None:
        return published.hub.here() or published.hub.kept()
    return cache_folder() / published.address.rsplit("/", 1)[-1]


@lru_cache(maxsize=4)
def _fetched_once(published: Published, target: Path) -> Path:
    """The published file, checked once in a process: `fetch` reads all of it each time."""
    if published.hub is not None:
        return published.hub.local(published.sha256, setting=SETTING)
    return fetch(published.address, target, published.sha256, setting=SETTING)
