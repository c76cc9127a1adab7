"""The pages of `biam-pipe view`: what they show, refuse and survive."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browser import PROGRAM, Browser, browser
from PIL import Image
from shell import Shell
from viewed import Viewed, viewed

from benchmarks.flips.warm import Runner
from benchmarks.openimages_files import Size, write_files, write_toml
from pipeline import flow
from pipeline.settings.layers import configuration
from schemas.command import Command
from schemas.errors import UsageError

pytest.importorskip("starlette", reason="the extra `view` is not installed")
pytest.importorskip("uvicorn", reason="the extra `view` is not installed")
pytest.importorskip("websockets", reason="websockets, which drives the browser, is not installed")

SCRIPT, CHINESE = "<script>document.title='run'</script>.jpg".replace("/", "&"), "斑马"


def _state(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def run_folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewed") / "run"
    shutil.copytree(finished, folder)
    return folder


@pytest.fixture(scope="module")
def pages(run_folder: Path) -> Iterator[Viewed]:
    config = configuration(None, run_folder / "biam-pipe.toml", {}, (), run_folder / "work")
    with viewed(config, run_folder / "work") as found:
        yield found


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, warm: Runner) -> Iterator[Viewed]:
    """Of images with hostile names, one of them broken, and without a run."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "photos").mkdir()
    for number, name in enumerate((SCRIPT, "b.jpg")):
        Image.new("RGB", (64, 48), (60 * number, 90, 120)).save(folder / "photos" / name, "JPEG")
    (folder / "photos/broken.jpg").write_bytes(b"no picture")
    rows = [f'"{SCRIPT}",{CHINESE}', f"b.jpg,{CHINESE};night", "broken.jpg,night", "gone.jpg,night"]
    (folder / "labels.csv").write_text("\n".join(["image,labels", *rows, ""]), encoding="utf-8")
    (folder / "biam-pipe.toml").write_text(
        '[dataset]\nname = "folder"\nfolders = ["photos"]\nlabels = "labels.csv"\n[backbone]\nname = "tiny"\n'
        'weights = "random:0"\n'
    )
    Shell(folder, warm)("download", code=3)
    config = configuration(None, folder / "biam-pipe.toml", {}, (), folder / "work")
    with viewed(config, folder / "work") as found:
        yield found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not PROGRAM.exists():
        pytest.skip(f"Debian's package chromium is not installed: no {PROGRAM}")
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def _run(pages: Viewed) -> str:
    found = re.search(r"runs?/?=?([a-z]+-[a-z]+-[0-9a-f]{8})", pages("/runs").text)
    assert found is not None
    return found[1]


def test_pages_show_a_finished_run_and_change_nothing(pages: Viewed, run_folder: Path) -> None:
    before = _state(run_folder / "work")
    run = _run(pages)

    assert "with features" in pages("/").text
    assert "<strong>80</strong> images" in pages("/images").text
    assert pages("/images").text.count("<li><a href=") == 24
    assert pages("/images?page=4").text.count("<li><a href=") == 8
    assert "No image failed so far" in pages("/failures").text
    assert "ZSL mAP" in pages("/runs").text
    assert "is better in" in pages(f"/labels?run={run}&against={run}").text
    assert pages("/photo/240/0/0").body.startswith(b"\xff\xd8")
    assert pages("/style.css").headers["content-type"].startswith("text/css")
    assert _state(run_folder / "work") == before


def test_whose_an_image_is_stands_under_it_and_links_to_pages_alone(tmp_path: Path, warm: Runner) -> None:
    settings = write_files(tmp_path, {"validation": Size(30, 60, 3, 2)})
    listed = tmp_path / "validation-images.csv"
    hostile = listed.read_text("utf-8-sig").replace("https://www.flickr.com/photos/someone/4", "javascript:alert(4)")
    listed.write_text(hostile, encoding="utf-8")
    write_toml(tmp_path / "biam-pipe.toml", {"name": "openimages", **settings})
    Shell(tmp_path, warm)("index")
    config = configuration(None, tmp_path / "biam-pipe.toml", {}, (), tmp_path / "work")
    with viewed(config, tmp_path / "work") as pages:
        grid, one, of_hostile = pages("/images").text, pages("/images/0/1").text, pages("/images/0/4").text
    licence = '<a href="https://creativecommons.org/licenses/by/2.0/" rel="noopener noreferrer">CC BY 2.0</a>'
    assert f"photo by 摄影师 · {licence}" in one
    assert f"photo by 摄影师 · {licence}" in grid
    assert "photo by &lt;b&gt;Somebody&lt;/b&gt;" in grid
    assert '<a href="https://www.flickr.com/photos/someone/1" rel="noopener noreferrer">its page</a>' in one
    assert "CC BY 2.0" in of_hostile
    assert "javascript:" not in grid + of_hostile


def test_filters_share_out_the_test_images(pages: Viewed) -> None:
    def total(query: str) -> int:
        found = re.search(r"<strong>([\d,]+)</strong> images", pages(f"/images?{query}").text)
        assert found is not None
        return int(found[1])

    test = total("split=test")
    assert sum(total(f"split={name}") for name in ("train", "validation", "test", "none")) == 80
    assert 0 < total("outcome=right") + total("outcome=wrong") <= test
    assert total("outcome=right&split=train") == 0
    assert total("outcome=missing") == total("status=failed") == 0
    assert total("status=ok") == 80
    assert 0 < total("label=red+circle") < 80
    assert "There is no label &#39;red&#39;" in pages("/images?label=red").text
    assert "red circle</a>" in pages("/images?label=red").text


def test_images_lead_to_the_next_and_the_one_before_across_shards(pages: Viewed) -> None:
    places = ["/images/0/0"]
    while found := re.search(r'rel="next" href="([^"?]+)', pages(places[-1]).text):
        places.append(found[1])
    assert len(set(places)) == len(places) == 80
    assert places[-1].split("/")[2] != "0"
    found = re.search(r'rel="prev" href="([^"?]+)', pages("/images/1/0").text)
    assert found is not None
    assert found[1] == places[places.index("/images/1/0") - 1]
    assert 'rel="prev"' not in pages("/images/0/0").text


def test_an_image_of_the_test_has_scores_ranks_and_response_maps_of_any_label(pages: Viewed) -> None:
    place = re.search(r'href="(/images/\d+/\d+)"', pages("/images?split=test").text)
    assert place is not None

    page = pages(f"{place[1]}?map=0").text
    assert page.count(" · rank ") > 10
    assert "where the model sees" in page
    assert pages(f"{place[1].replace('images', 'response')}?map=0").body.startswith(b"\xff\xd8")
    assert "takes no part" in pages(f"{place[1]}?map=9999").text


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/images?split=tset", "Did you mean &#39;test&#39;?"),
        ("/images?page=x", "expected a number"),
        ("/images?pge=2", "Did you mean &#39;page&#39;?"),
        ("/images?run=none", "unknown run"),
        ("/images/0/999", "there is no image in row 999"),
        ("/nowhere/<b>", "there is no page /nowhere/&lt;b&gt;"),
    ],
)
def test_a_wrong_address_is_told(pages: Viewed, path: str, told: str) -> None:
    answer = pages(path.replace("<", "%3C").replace(">", "%3E"))

    assert answer.code == 404
    assert told in answer.text


def test_foreign_hosts_and_writes_are_refused(pages: Viewed) -> None:
    for host in ("evil.example", f"evil.example:{pages.port}", "127.0.0.1", f"127.0.0.1:{pages.port}.evil.example"):
        assert pages("/", host=host).code == 403
    assert pages("/", host=f"localhost:{pages.port}").code == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = pages("/", method)
        assert (answer.code, answer.headers["allow"]) == (405, "GET, HEAD")
    head = pages("/images", "HEAD")
    assert (head.code, head.body) == (200, b"")
    assert "default-src 'none'" in head.headers["content-security-policy"]


def test_many_requests_at_once_are_answered(pages: Viewed) -> None:
    paths = ["/images", "/images?outcome=right", "/photo/240/0/1", "/labels"] * 50
    with ThreadPoolExecutor(200) as pool:
        assert {answer.code for answer in pool.map(pages, paths)} == {200}


def test_a_damaged_shard_is_told_and_stops_nothing_else(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    work = tmp_path / "run/work"
    for name in ("annotations/shard-00001.parquet", "images/shard-00000.parquet"):
        damaged = work / "demo" / name
        damaged.write_bytes(damaged.read_bytes()[:-9])
    (features,) = work.glob("demo/features/*/parquet/shard-00001.parquet")
    flipped = bytearray(features.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    features.write_bytes(flipped)
    (scores,) = work.glob("demo/runs/*/scores.parquet")
    scores.write_bytes(scores.read_bytes()[:100] + bytes(20) + scores.read_bytes()[120:])
    with viewed(configuration(None, tmp_path / "run/biam-pipe.toml", {}, (), work), work) as pages:
        first, last = pages("/images"), pages("/images?page=4")

        assert "shard-00001.parquet is not what its receipt says" not in first.text
        assert "shard-00001.parquet is not what its receipt says" in last.text
        assert last.text.count("<li><a href=") == 8
        assert "No picture: " in pages("/images/0/0").text
        assert pages("/photo/240/0/0").body.startswith(b"<svg")
        assert re.search(r"No response map: \S+shard-00001.parquet is not what", pages("/images/1/0?map=0").text)
        assert pages("/photo/240/1/0").body.startswith(b"\xff\xd8")
        assert "scores.parquet" in pages("/images?outcome=right").text
        assert {pages(path).code for path in ("/", "/failures", "/labels", "/runs", "/images?split=test")} == {200}


def test_failures_name_the_command_that_tries_them_again(named: Viewed) -> None:
    page = named("/failures").text
    assert "broken.jpg</a>" in page
    assert re.search(r"biam-pipe run --retry-failed=missing_file --dataset folder --work \S+named\d*/work", page)
    assert "gone.jpg" in named("/failures?status=missing_file").text
    assert "broken.jpg" not in named("/failures?status=missing_file").text.partition("missing_file <span")[2]


def test_every_page_opens_in_a_browser_without_a_word_on_its_console(chromium: Browser, pages: Viewed) -> None:
    for width, scheme in ((1400, "light"), (375, "dark")):
        chromium.look(width, scheme)
        for path in ("/", "/images", "/images/0/0?map=0", "/failures", "/labels", "/runs"):
            chromium.open(pages.address + path)
            assert chromium.told == [], path
            assert chromium.ask("document.documentElement.scrollWidth") <= width, path
    background = chromium.ask("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(17, 21, 27)"


def test_a_filter_is_used_by_keyboard(chromium: Browser, pages: Viewed) -> None:
    chromium.open(f"{pages.address}/images")
    chromium.press("Tab", 9)
    assert chromium.ask("document.activeElement.className") == "skip"
    chromium.ask("document.querySelector('input[name=label]').focus()")
    chromium("Input.insertText", text="red circle")
    chromium.submit()

    assert "label=red+circle" in chromium.ask("location.search")
    total = int(chromium.ask("document.querySelector('main strong').textContent"))
    assert 0 < total < 80
    assert chromium.ask("document.querySelectorAll('.gallery li').length") == min(total, 24)


def test_names_are_shown_as_text(chromium: Browser, named: Viewed) -> None:
    chromium.open(f"{named.address}/images")
    assert chromium.ask("document.title").startswith("Images")
    assert chromium.ask("document.querySelectorAll('script').length") == 0
    assert SCRIPT in chromium.ask("document.body.innerText")
    assert CHINESE in chromium.ask("document.body.innerText")
    chromium.open(f"{named.address}/images?label=%E6%96%91%E9%A9%AC")
    assert chromium.ask("document.querySelectorAll('.gallery li').length") == 2
    assert chromium.told == []


def test_a_port_that_is_taken_is_told_with_what_to_do(pages: Viewed, run_folder: Path) -> None:
    config = configuration(None, run_folder / "biam-pipe.toml", {}, (), run_folder / "work")
    with pytest.raises(UsageError, match=rf"nobody can listen on port {pages.port} .*Name another one with --port"):
        flow.view(config, run_folder / "work", Command(), pages.port, lambda address: None)


def test_the_command_serves_until_it_is_told_to_end(run_folder: Path) -> None:
    command = [sys.executable, "-m", "cli", "view", "--port", "0"]
    root = str(Path(__file__).resolve().parents[3])
    environment = os.environ | {"PYTHONPATH": root}
    with subprocess.Popen(command, cwd=run_folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
            assert Viewed(port)("/style.css").code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(100) == 0
        finally:
            process.kill()
