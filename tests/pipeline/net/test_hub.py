"""Files of a hub: in the cache of its client, fetched by our own downloader, under the second name."""

from pathlib import Path

import pytest
from outside_server import serving

from pipeline.net.fetch import CACHE_VARIABLE
from pipeline.net.hub import HubFile
from schemas.errors import PipelineError

FILE = HubFile("owner/model", ("best.safetensors", "other.bin"))


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "ours"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "client"))


def test_what_the_client_of_the_hub_keeps_is_taken_from_there_and_left_as_it_is(tmp_path: Path) -> None:
    repository = tmp_path / "client/models--owner--model"
    kept = repository / "snapshots/0a1b/other.bin"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weights")
    assert FILE.here() is None  # nothing says which commit is meant
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0a1b")
    before = sorted(tmp_path.rglob("*"))
    assert FILE.here() == FILE.local() == kept
    assert sorted(tmp_path.rglob("*")) == before


def test_a_repository_without_the_best_name_is_asked_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server:
        server.files["/owner/model/resolve/main/other.bin"] = b"weights"
        monkeypatch.setenv("HF_ENDPOINT", server.base)
        assert FILE.local().read_bytes() == b"weights"
        assert FILE.local() == FILE.here() == tmp_path / "ours/hub/owner--model/other.bin"
        assert list(server.ranges) == [f"/owner/model/resolve/main/{name}" for name in FILE.names]
        with pytest.raises(PipelineError, match=r"could not fetch .*/resolve/main/no\.bin"):
            HubFile("owner/model", ("no.bin",)).local()
