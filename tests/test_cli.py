"""The command line on a small demo: what it runs, what it leaves alone, what it says, how it exits."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outside_server import serving
from PIL import Image
from shell import SMALL, Shell
from typer.main import get_command

import cli
from benchmarks.flips.warm import Plain
from biam_pipe import load_model, metrics
from pipeline import flow
from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.ledger import Ledger, written
from pipeline.files.storage import Storage
from pipeline.inference.calibration import Calibration
from pipeline.settings.layers import configuration
from schemas.errors import IntegrityError, PipelineError, UsageError
from schemas.receipts import Receipt

ROOT = Path(__file__).resolve().parents[1]


def test_a_finished_run_is_told_with_its_figures_beside_chance(shell: Shell) -> None:
    result = shell.json("run")
    assert [stage["name"] for stage in result["stages"]] == list(cli.STAGES)
    assert result["metrics"]["zsl"]["chance"]["map"] > 0
    assert result["random_weights"] == "random:0"
    told = shell("run").stdout
    assert "ZSL  mAP" in told
    assert "chance" in told
    assert "random:0 weights: the figures show that the pipeline works" in told


def test_a_finished_run_leaves_what_happened_and_where_its_seconds_went(finished: Path) -> None:
    (log,) = (finished / "work/demo/logs").glob("*-report-*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    done = [event for event in events if event["event"] == "done"]
    assert {event["stage"] for event in done} == set(cli.STAGES)
    assert {name for event in done if event["stage"] == "download" for name in event["seconds_by"]} == {
        "disk",
        "network",
    }
    extracted = [event for event in done if event["stage"] == "extract" and "shard" in event]
    assert sorted(event["shard"] for event in extracted) == [0, 1]
    assert all(event["seconds_by"].keys() == {"decoding", "backbone", "disk"} for event in extracted)
    assert [event["counts"] for event in extracted] == [{"ok": 40}, {"ok": 40}]
    (run,) = (finished / "work/demo/runs").iterdir()
    assert (run / "run.jsonl").read_text() == log.read_text()
    assert (run / "run.log").read_text() == log.with_suffix(".log").read_text()


def test_help_completion_and_options_before_the_verb(shell: Shell) -> None:
    assert "Usage: biam-pipe run" in shell("run -h").stdout
    assert shell("--dataset demo --json status").stdout == shell("status --dataset demo --json").stdout
    words = {"_BIAM_PIPE_COMPLETE": "complete_bash", "COMP_WORDS": "biam-pipe stat", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "cli"], cwd=ROOT, env=os.environ | words, capture_output=True, text=True
    )
    assert done.stdout.split() == ["status"]
    for command in ("run", "plan --set train.lr=0.5", "status"):
        tables = [line for line in shell(command).stdout.splitlines() if line.startswith(tuple(cli.STAGES))]
        assert tables
        assert max(map(len, tables)) <= 80


def test_a_rerun_of_a_finished_run_touches_nothing_and_loads_nothing_heavy(shell: Shell) -> None:
    before = shell.files()
    program = (
        "import sys, cli; sys.argv = ['biam-pipe', 'run']\n"
        "try: cli.main()\n"
        "finally: print(*[name for name in ('torch', 'distributed', 'gensim') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=shell.folder, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.split() == []
    assert shell.files() == before


def test_a_run_that_died_when_all_was_done_is_tidied_up_after(shell: Shell) -> None:
    root = shell.folder / "work/demo"
    lock, left = root / ".lock", root / "index/.shard-00000.parquet.0.tmp"
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    writer = {"pid": ended.pid, "host": socket.gethostname(), "since": datetime.now(UTC).isoformat()}
    lock.write_text(json.dumps(writer))
    left.touch()
    assert "ended without a word" in shell("status").stdout
    assert shell.ran("run") == {}
    assert not left.exists()
    assert lock.read_bytes() == b""


def test_status_as_openmetrics_is_told_as_it_is(shell: Shell) -> None:
    told = shell("status --openmetrics").stdout
    assert 'biam_pipe_rows{dataset="demo",stage="extract"} 80\n' in told
    assert told.endswith("\n# EOF\n")
    assert shell.json("status --openmetrics") == {"openmetrics": told}


def test_plan_names_the_option_and_only_what_depends_on_it_runs(shell: Shell) -> None:
    plan = {line["name"]: line for line in shell.json("plan --set train.lr=0.0002")["stages"]}
    assert plan["train"]["reasons"] == ["train.lr 0.001 -> 0.0002"]
    assert [name for name, line in plan.items() if line["to_run"]] == ["train", "evaluate", "report"]
    before = {line["name"]: line["recipe"] for line in shell.json("plan")["stages"]}
    assert [name for name in plan if plan[name]["recipe"] != before[name]] == ["train", "evaluate", "report"]
    assert "train.lr 0.001 -> 0.0002" in shell("plan --set train.lr=0.0002").stdout
    assert shell.ran("run --set train.lr=0.0002") == {"train": 1, "evaluate": 1, "report": 1}


@pytest.mark.parametrize("missing", ["error", "drop", "unseen-excluded"])
def test_every_treatment_of_labels_without_vector_can_be_planned(shell: Shell, missing: str) -> None:
    lines = shell.json(f"plan --set embed.missing={missing}")["stages"]
    assert [line["name"] for line in lines if line["to_run"]] == (
        [] if missing == "error" else ["embed", "train", "evaluate", "report"]
    )


def test_a_work_folder_that_cannot_be_one_is_named(shell: Shell) -> None:
    assert "--work wants a folder, and biam-pipe.toml is a file" in shell("run --work biam-pipe.toml", code=2).stderr
    assert "cannot write in /proc/" in shell("run --work /proc/x", code=1).stderr


def test_more_images_dirty_only_new_shards(shell: Shell) -> None:
    ran = shell.ran("extract --set dataset.num_images=100")
    assert ran == {"index": 1, "download": 1, "extract": 1}


def test_train_alone_brings_up_to_date_what_it_needs_and_stops_after_itself(fresh: Shell, tmp_path: Path) -> None:
    assert fresh.ran("train") == {"index": 1, "download": 2, "extract": 3, "embed": 1, "split": 3, "train": 1}
    assert not list(tmp_path.rglob("metrics.json"))


def test_status_says_that_there_is_no_work_folder(fresh: Shell, tmp_path: Path) -> None:
    folder = Path(tmp_path, "work", "demo")
    for command in ("status", "status --failed"):  # no failure is another answer
        told = fresh(command, code=1).stderr
        assert f"status: there is no folder {folder}, so nothing was run there yet" in told


def test_status_needs_none_of_the_files_that_the_work_was_made_of(fresh: Shell, tmp_path: Path) -> None:
    (tmp_path / "biam-pipe.toml").write_text(
        '[dataset]\nname = "folder"\nfolders = ["photos"]\nlabels = "labels.csv"\n[embed]\nvectors = "words.txt"\n'
    )
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos/a.jpg")
    (tmp_path / "labels.csv").write_text("image,labels\na.jpg,cat\n")
    (tmp_path / "words.txt").write_text("cat 1 2\n")
    fresh("index")
    shutil.rmtree(tmp_path / "photos")
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "words.txt").unlink()

    told = fresh.json("status")

    assert [(stage["name"], stage["rows"]) for stage in told["stages"]][:2] == [("index", 1), ("download", 0)]
    assert fresh.json("status --failed") == {"failed": []}
    fresh("plan", code=2)


def test_only_fails_with_the_next_command_where_its_input_is_missing(fresh: Shell) -> None:
    told = fresh("extract --only", code=1).stderr
    assert "extract --only: index is not up to date" in told
    assert "Run: biam-pipe index --dataset demo" in told


def test_verify_finds_a_flipped_bit_and_exits_with_4(shell: Shell) -> None:
    assert shell.json("verify")["problems"] == []
    shard = next(shell.folder.glob("work/demo/features/*/parquet/shard-00001.parquet"))
    _flip_a_bit(shard)
    done = shell("verify", code=4)
    assert ", 1 problem\n" in done.stdout
    assert str(shard) in done.stdout


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_truncated_shard_and_one_without_receipt_are_made_anew(shell: Shell) -> None:
    first, second = sorted(shell.folder.glob("work/demo/features/*/parquet/shard-*.parquet"))
    whole = [first.read_bytes(), second.read_bytes()]
    first.write_bytes(whole[0][:-1000])
    second.with_suffix(".json").unlink()
    assert shell.ran("run") == {"extract": 2}
    assert [first.read_bytes(), second.read_bytes()] == whole


def test_verify_makes_images_anew_and_tells_how_far_they_are_off(shell: Shell) -> None:
    same = shell.json("verify --reextract 7 --seed 3")["reextracted"]
    assert (same["images"], same["equal"], same["largest_error"], same["problems"]) == (7, 7, 0.0, [])
    assert "7 images made anew: 7 with equal bits" in shell("verify --reextract 7 --seed 3").stdout
    _change_a_row(next(shell.folder.glob("work/demo/features/*/parquet/shard-00000.parquet")))
    told = shell.json("verify --reextract 80", code=4)
    assert told["problems"] == []  # the receipt was changed with the file
    assert told["reextracted"]["equal"] == 79
    assert len(told["reextracted"]["problems"]) == 1
    assert told["reextracted"]["largest_error"] >= 1
    assert "no features of these settings" in shell("verify --reextract 1 --set backbone.input_px=64", code=1).stderr


def _change_a_row(shard: Path) -> None:
    """Write a feature shard with one other number, and the receipt that fits it."""
    from pipeline.engine.ledger import written
    from pipeline.stores import parquet
    from pipeline.stores.shard import row_groups
    from schemas.config import StoreConfig
    from schemas.receipts import Receipt

    with parquet.open_shard(shard) as reader:
        spec, groups = reader.spec, list(row_groups(reader))
    maps = {column: values.copy() for column, values in groups[0].maps.items()}
    maps[spec.maps[0].column][5, 0, 0, 0] += 1 + abs(maps[spec.maps[0].column][5]).max()
    groups[0] = replace(groups[0], maps=maps)
    parquet.write(shard, spec, StoreConfig(), groups)
    receipt = json.loads(shard.with_suffix(".json").read_text())
    data = shard.read_bytes()
    receipt["files"][0] |= {"size_bytes": len(data), "sha256": sha256(data).hexdigest()}
    place = shard.with_suffix(".json").relative_to(shard.parents[3]).as_posix()
    shard.with_suffix(".json").write_bytes(written(Receipt.model_validate(receipt), place))
    (shard.parent / "stage.parquet").unlink()


@pytest.mark.parametrize(("name", "damage"), [("README.md", "gone"), ("croissant.json", "emptied")])
def test_a_page_about_features_that_is_gone_or_damaged_is_written_again(shell: Shell, name: str, damage: str) -> None:
    card = next(shell.folder.glob(f"work/demo/features/*/parquet/{name}"))
    text = card.read_text()
    if damage == "gone":
        card.unlink()
    else:
        card.write_text("")
    before = shell.files()
    shell("plan")
    assert shell.files() == before
    assert shell.ran("extract") == {}
    assert card.read_text() == text


def test_features_and_runs_are_described_for_other_programs_with_the_hashes_of_their_files(shell: Shell) -> None:
    kinds = {}
    for path in (shell.folder / "work/demo").rglob("croissant.json"):
        told = json.loads(path.read_text())
        for file in told["distribution"]:
            if file["@type"] == "cr:FileObject":
                data = path.with_name(file["contentUrl"]).read_bytes()
                assert (file["sha256"], file["contentSize"]) == (sha256(data).hexdigest(), f"{len(data)} B")
        (rows,) = told["recordSet"]
        source = next(one for one in told["distribution"] if one["@id"] in str(rows["field"][0]["source"]))
        table = pq.read_table(next(path.parent.glob(source.get("includes") or source["contentUrl"])))
        assert {field["source"]["extract"]["column"] for field in rows["field"]} <= set(table.column_names)
        kinds[rows["name"]] = len(told["distribution"])
    assert kinds.keys() == {"images", "labels"}
    assert kinds["images"] == 4  # two shards, the spec, and all shards together
    described = Path(shell.json("convert hdf5")["folder"], "croissant.json")
    assert '"shard-00000.h5"' in described.read_text()
    assert json.loads(described.read_text())["recordSet"] == []  # Croissant knows no columns of HDF5


def test_images_that_were_dropped_cannot_be_made_anew(shell: Shell) -> None:
    shell("extract --set images.keep=false")
    told = shell.json("verify --reextract 3 --set images.keep=false")["reextracted"]
    assert (told["images"], told["problems"]) == (0, [])
    assert "they were dropped after use (images.keep = false)" in told["note"]


def test_another_store_is_up_to_date_once_converted_and_goes_on_where_it_stopped(shell: Shell) -> None:
    made = shell.json("convert hdf5")
    assert (made["files"], made["made"], made["rows"]) == (2, 2, 80)
    assert shell.ran("run --set store.name=hdf5") == {}
    folder = Path(made["folder"])
    first, second = (path.read_bytes() for path in sorted(folder.glob("shard-*.h5")))
    card = (folder / "README.md").read_text()
    assert "80 of 80 images have features" in card
    assert "shard-00000.h5" in card
    for name in ("shard-00001.h5", "shard-00001.json", "stage.parquet"):  # as a kill between two shards leaves it
        (folder / name).unlink()
    before = (folder / "shard-00000.h5").stat().st_ino
    assert shell.json("convert hdf5")["made"] == 1
    assert (folder / "shard-00000.h5").stat().st_ino == before
    assert [path.read_bytes() for path in sorted(folder.glob("shard-*.h5"))] == [first, second]


def test_a_work_folder_on_a_read_only_disk_is_told_of_and_converted_elsewhere(shell: Shell, tmp_path: Path) -> None:
    work, out = shell.folder / "work", tmp_path / "out"
    mounted = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    mounts = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, str(work)]
    if shutil.which("unshare") is None or subprocess.run([*mounts, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a folder read-only")
    writing = subprocess.run([*mounts, "touch", str(work / "x")], capture_output=True, text=True)
    assert "Read-only file system" in writing.stderr
    places = {"PYTHONPATH": str(ROOT), "BIAM_PIPE_CACHE": str(shell.folder / "cache"), "HOME": str(tmp_path)}
    for command, told in (
        ("status", "evaluate"),
        ("runs", "ZSL mAP"),
        (f"convert huggingface --out {out}", str(out)),
    ):
        words = [sys.executable, "-m", "cli", *command.split()]
        ended = subprocess.run(
            [*mounts, *words], cwd=shell.folder, env={**os.environ, **places}, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert told in ended.stdout
    assert (out / "README.md").is_file()


def test_what_is_damaged_is_not_taken_for_converted_and_verify_looks_at_both_stores(shell: Shell) -> None:
    folder = Path(shell.json("convert hdf5")["folder"])
    told = shell("convert hdf5 --set train.lr=0.5").stdout
    assert "hdf5: 2 files (0 made now), 80 images" in told
    assert "next: biam-pipe train --dataset demo --set train.lr=0.5 --set store.name=hdf5" in told
    copy, source = (
        folder / "shard-00001.h5",
        next(shell.folder.glob("work/demo/features/*/parquet/shard-00001.parquet")),
    )
    whole = copy.read_bytes()
    for path in (copy, source):
        _flip_a_bit(path)
    done = shell("verify", code=4)
    assert ", 2 problems\n" in done.stdout
    assert str(copy) in done.stdout
    assert str(source) in done.stdout
    assert "files gone, or not as written: 2. Remove what is left of them, then run with" in done.stderr
    for command in ("convert hdf5", "convert released --out released", "verify --reextract 80"):
        told = shell(command, code=4).stderr
        assert f"{source} is not what its receipt says: sha256" in told
        assert "Remove it and run: biam-pipe extract --dataset demo\n" in told
    _flip_a_bit(source)
    assert shell.json("convert hdf5")["made"] == 1
    assert copy.read_bytes() == whole
    assert shell.json("verify")["problems"] == []


def test_forms_for_others_are_made_once_and_again_where_they_were_damaged(shell: Shell) -> None:
    before = shell.files()
    for form, files in (("released", 4), ("huggingface", 8), ("webdataset", 7), ("fiftyone", 11)):
        made = shell.json(f"convert {form} --out {form}")
        assert (made["made"], made["rows"]) == (files, 80)
        assert shell.json(f"convert {form} --out {form}")["made"] == 0
    assert shell.files() == before  # not even a lock: the work folder may be read-only
    _flip_a_bit(shell.folder / "huggingface/data/train-00001.parquet")
    assert shell.json("convert huggingface --out huggingface")["made"] == 1
    _as_fiftyone_reads_them(shell)
    _flip_a_bit(next(shell.folder.glob("work/demo/features/*/parquet/shard-00001.parquet")))
    assert "is not what its receipt says" in shell("convert huggingface --out huggingface", code=4).stderr


def _as_fiftyone_reads_them(shell: Shell) -> None:
    """Images that were fetched are written out once, and each split says where they lie and what they bear."""
    out, images = shell.folder / "fiftyone", []
    for split in ("train", "validation", "test"):
        told, places = (json.loads((out / split / name).read_text()) for name in ("labels.json", "data.json"))
        assert [name.removesuffix(".x") for name in places] == list(told["labels"]) == list(told["image_ids"])
        assert len(np.load(out / split / "embeddings.npy")) == len(places)
        assert all(0 <= label < len(told["classes"]) for labels in told["labels"].values() for label in labels)
        images += [(out / split / place).resolve() for place in places.values()]
    assert sorted(images) == sorted((out / "images").rglob("*.jpg"))
    next(iter(images)).write_bytes(b"changed")
    assert shell.json("convert fiftyone --out fiftyone")["made"] == 1
    with Image.open(images[0]) as image:
        assert image.size


def test_a_form_does_not_go_into_a_folder_with_files_that_it_does_not_make(shell: Shell) -> None:
    shell("convert huggingface --out hf")
    stale = shell.folder / "hf/data/train-00002.parquet"  # as a conversion of more shards leaves it
    stale.write_bytes((shell.folder / "hf/data/train-00001.parquet").read_bytes())
    before = {path: path.stat().st_ino for path in (shell.folder / "hf").rglob("*")}
    told = shell("convert huggingface --out hf", code=2).stderr
    assert f"convert: {stale} is none of the 8 files of this conversion (found 1 such, expected 0)" in told
    assert "Remove what is old, or use another --out" in told
    stale.unlink()
    told = shell("convert released --out hf", code=2).stderr
    assert "hf/data/test-00000.parquet is none of the 4 files of this conversion (found 7 such, expected 0)" in told
    assert {path: path.stat().st_ino for path in (shell.folder / "hf").rglob("*")} == {
        path: inode for path, inode in before.items() if path != stale
    }
    (shell.folder / "mine").mkdir()
    (shell.folder / "mine/README.md").write_text("# Mine\n")
    told = shell("convert huggingface --out mine", code=2).stderr
    assert "mine/README.md was not made by a conversion, and would be overwritten. Use another --out" in told


def test_more_failed_images_than_allowed_exit_with_3_after_all_else_is_done(fresh: Shell, tmp_path: Path) -> None:
    (tmp_path / "biam-pipe.toml").unlink()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/broken.jpg").write_bytes(b"no picture")
    done = fresh("download --dataset folder --set dataset.folders=photos", code=3)
    assert "1 of 1 images failed (100.0%; extract.max_failed_fraction is 5.0%): not_an_image 1" in done.stderr
    assert "such as broken.jpg (not_an_image). See all of them: biam-pipe status --failed" in done.stderr
    listed = fresh("status --failed --dataset folder --set dataset.folders=photos").stdout
    assert listed.split("\t")[:3] == ["broken.jpg", "not_an_image", str(tmp_path / "photos/broken.jpg")]
    told = fresh.json("status --failed=timeout --dataset folder --set dataset.folders=photos")
    assert told == {"failed": []}
    assert "download  ran 1" in done.stdout


def test_a_second_run_on_the_same_folder_is_refused(shell: Shell) -> None:
    from pipeline.files.lock import writing
    from pipeline.files.storage import Storage

    with writing(Storage(str(shell.folder / "work/demo"))):
        told = shell("run --set train.lr=0.5", code=5).stderr
    assert f"is being written by process {os.getpid()}" in told


def test_streams_that_are_closed_break_nothing(tmp_path: Path) -> None:
    for closed in ("2>&-", "<&-", "<&- 2>&-"):
        command = f'"{sys.executable}" -m cli show datasets --json {closed}'
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        )
        assert done.returncode == 0
        assert "demo" in json.loads(done.stdout)["datasets"]
    command = f'"{sys.executable}" -m cli run --dataset dmo 2>&-'
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("command", "code"), [("show models --json >/dev/full", 1), ("run --dataset dmo --json 2>/dev/full", 2)]
)
def test_a_full_disk_below_what_is_printed_is_one_line_and_an_exit_code(
    tmp_path: Path, command: str, code: int
) -> None:
    command = f'"{sys.executable}" -m cli {command}'
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert code == 2 or done.stderr.startswith("biam-pipe: the disk is full: ")


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("run --work s3://bucket/x", 2, "--work wants a folder of this machine, got s3://bucket/x. Mount it, or copy"),
        ("status --work hdfs+x://host:80/x", 2, "--work wants a folder of this machine, got hdfs+x://host:80/x."),
        ("run --dataset dmo", 2, "unknown data set 'dmo'. Did you mean 'demo'? Known: demo, folder"),
        ("run --set backbone.name=vgg", 2, "unknown backbone 'vgg'. Did you mean 'vgg19'? Known: dino"),
        ("run --set model.name=bim", 2, "unknown model 'bim'. Did you mean 'biam'? Known: "),
        ("run --set store.name=parket", 2, "unknown store 'parket'. Did you mean 'parquet'? Known: hdf5, parquet"),
        ("convert parket", 2, "unknown store or form 'parket'. Did you mean 'parquet'? Known: fiftyone, hdf5, hugging"),
        ("convert parquet", 2, "the features are in the store parquet already (store.name). To convert from another: "),
        ("convert released", 2, "convert: released wants a folder for its files: --out DIR"),
        (
            "convert",
            2,
            "convert: got no TO, expected a store (hdf5, parquet), a form (fiftyone, huggingface, released, "
            "webdataset) or --from",
        ),
        ("convert released --out biam-pipe.toml", 2, "biam-pipe.toml is a file. Use another --out"),
        (
            "plan --set backbone.weights=work",
            1,
            "cannot read the file work: Is a directory, expected a file. Check backb",
        ),
        (
            "plan --set backbone.input_px=1000000",
            2,
            "backbone.input_px: got 1000000, expected a whole number, at least 1 a",
        ),
        ("convert hdf5 --out x", 2, "convert: hdf5 wants no --out: it has its place in the work folder"),
        (
            "convert hdf5 --from x.h5",
            2,
            "convert: --from takes in features of the data set nuswide, got demo (--dataset, or the section [dataset]",
        ),
        (
            "convert hdf5 --from x.h5 --out xx --config nuswide.toml",
            2,
            "convert: --from wants no --out: features that are taken in go to the work folder",
        ),
        (
            "convert hdf5 --set backbone.input_px=64",
            1,
            "convert: extract is not up to date (found 0 tasks, expected 3)",
        ),
        ("run --time-budget soon", 2, "--time-budget wants a number and one of s, m, h, d, got 'soon'. Example: 50m"),
        ("run --config nowhere.toml", 2, "cannot read the configuration nowhere.toml: No such file or directory"),
        ("run --dataset folder", 2, "dataset.folders"),
        ("run --scheduler tcp://127.0.0.1:9", 1, "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_a_mistake_is_one_line_with_what_to_do(shell: Shell, command: str, code: int, told: str) -> None:
    if "--scheduler" in command:
        command += " --set dataset.seed=3"
    (shell.folder / "nuswide.toml").write_text('dataset = {name = "nuswide"}')
    done = shell(f"{command} --json", code=code)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert told in json.loads(done.stdout)["error"]


def test_what_is_printed_and_warned_of_holds_nothing_that_a_terminal_would_obey(fresh: Shell, tmp_path: Path) -> None:
    (tmp_path / "biam-pipe.toml").write_text(
        '[dataset]\nname = "folder"\nfolders = ["photos"]\nlabels = "\\u001b[2J.csv"\n'
    )
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos/a.jpg")
    (tmp_path / "\x1b[2J.csv").write_text("image,labels,more\na.jpg,cat,\n")
    done = fresh("index")
    assert "\\x1b[2J.csv: columns that are not read: more" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    (tmp_path / "\x1b[2J.csv").write_text("image\n")
    for command in ("index", "index --json"):
        done = fresh(command, code=1)
        assert "\\x1b[2J.csv, line 1: found the columns image" in done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_predicting_an_image_of_the_data_set_gives_the_scores_of_its_evaluation(shell: Shell) -> None:
    (run,) = shell.folder.glob("work/demo/runs/*")
    example = pq.read_table(run / "examples.parquet").to_pylist()[0]
    shard = shell.folder / f"work/demo/images/shard-{example['shard']:05d}.parquet"
    (shell.folder / "a test image.jpg").write_bytes(pq.read_table(shard)["data"][example["row"]].as_py())
    (shell.folder / "broken.jpg").write_bytes(b"no picture")
    told = shell.json("predict 'a test image.jpg' broken.jpg nowhere.jpg --top 5 --out seen --maps")
    assert [image["status"] for image in told["images"]] == ["ok", "not_an_image", "missing_file"]
    assert (told["random_weights"], told["exit_code"]) == (True, 0)
    names = pq.read_table(shell.folder / "work/demo/labels.parquet")["name"].to_pylist()
    labels = told["images"][0]["labels"]
    assert [one["label"] for one in labels] == [names[label] for label in example["top"]]
    assert [one["score"] for one in labels] == pytest.approx(example["top_scores"], abs=1e-5)
    pictures = [shell.folder / one["heat_map"] for one in labels]
    assert sorted(pictures) == sorted((shell.folder / "seen/maps").iterdir())
    with Image.open(pictures[0]) as picture, Image.open(shell.folder / "a test image.jpg") as image:
        assert picture.width > 2 * min(image.width, 480)
    calibration = json.loads((run / "calibration.json").read_text())
    curve = Calibration(calibration["slope"], calibration["intercept"])
    likely = [one["probability"] for one in labels]
    assert likely == pytest.approx(curve.probabilities(np.array([one["score"] for one in labels])).tolist())
    assert told["worth"]["seen"] == calibration["seen"]["error"]
    page = (shell.folder / "seen/predictions.html").read_text()
    assert "a test image.jpg" in page
    assert "maps/0001-a-test-image-1-" in page
    shell("predict 'a test image.jpg' --out seen --table parquet --run " + run.name)
    rows = pq.read_table(shell.folder / "seen/predictions.parquet").to_pylist()
    assert [row["label"] for row in rows] == [one["label"] for one in labels]
    assert [path.name for path in (shell.folder / "seen/maps").iterdir()] == []
    assert not (shell.folder / "seen/predictions.csv").exists()


def test_a_model_without_epochs_and_response_maps_runs_and_says_so(shell: Shell) -> None:
    told = shell("plan --set model.name=ridge", code=2).stderr
    assert "unknown setting 'model.channels': it is one of the model biam. Known: model.name, model.preset" in told
    (shell.folder / "biam-pipe.toml").write_text(SMALL[: SMALL.index("[model]")] + '[model]\nname = "ridge"\n')
    told = shell("plan --set train.lr=0.1", code=2).stderr
    assert "setting train.lr: got 0.1, model ridge has no epochs" in told
    assert shell.ran("run") == {"train": 1, "evaluate": 1, "report": 1}
    (run,) = shell.folder.glob("work/demo/runs/ridge-default-*")
    assert "it scores a picture as a whole" in (run / "report.html").read_text()
    Image.new("RGB", (40, 30), "red").save(shell.folder / "red.png")
    told = shell("predict red.png --labels 'red circle,striped' --maps").stdout
    assert "no pictures: the model does not tell where in a picture it sees a label" in told
    shell("verify")


def test_predicting_takes_any_words_with_vectors_and_names_those_without(shell: Shell) -> None:
    Image.new("RGB", (40, 30), "red").save(shell.folder / "red.png")
    told = shell.json("predict red.png --labels 'red circle, striped ,blue ring,red circle'")
    assert {one["label"] for one in told["images"][0]["labels"]} == {"red circle", "striped", "blue ring"}
    assert told["words_missing"] == {"blue ring": ["ring"]}
    told = shell.json("predict red.png --labels red,xyzzy")
    assert (told["words_unknown"], told["exit_code"]) == (["xyzzy"], 0)
    assert [one["label"] for one in told["images"][0]["labels"]] == ["red"]
    assert "left out, since nobody knows their words: 'xyzzy'" in shell("predict red.png --labels red,xyzzy").stdout
    done = shell("predict red.png --labels xyzzy,plugh", code=2).stderr
    assert "no word of 'xyzzy', 'plugh' has a vector in demo:vectors.txt, expected one at least" in done
    assert done.endswith("Name other words by --labels\n")  # no setting: others are of another run
    (shell.folder / "broken.jpg").write_bytes(b"no picture")
    done = shell("predict broken.jpg", code=1)
    assert "broken.jpg: not_an_image" in done.stdout
    assert "none of 1 images could be used (not_an_image 1; broken.jpg: " in done.stderr
    told = shell("predict work", code=1).stderr
    assert "(missing_file 1; work: a folder without image files)" in told
    (shell.folder / "more/deeper").mkdir(parents=True)
    shutil.copy(shell.folder / "red.png", shell.folder / "more/deeper/a.png")
    shutil.copy(shell.folder / "red.png", shell.folder / "more/b.png")
    (shell.folder / "more/notes.txt").write_text("no image")
    with serving() as server:
        server.files["/c.png"] = (shell.folder / "red.png").read_bytes()
        named = f"more 're?.png' red.png {server.base}/c.png {server.base}/gone.png"
        told = shell.json(f"predict {named} --labels red --set download.allowed_networks='[\"127.0.0.0/8\"]'")
    found = {image["image"]: image["status"] for image in told["images"]}
    assert found == {
        "more/b.png": "ok", "more/deeper/a.png": "ok", "red.png": "ok", f"{server.base}/c.png": "ok",
        f"{server.base}/gone.png": "not_found",
    }  # fmt: skip
    assert len({image["labels"][0]["score"] for image in told["images"] if image["labels"]}) == 1
    for wrong, told in (
        ("predict", "no image given"),
        ("predict red.png --top 0", "predict: --top is 0, expected at least 1 label"),
        ("predict red.png --out red.png", "predict: --out wants a folder, and red.png is a file"),
        ("predict red.png --table xlsx", "predict: --table, got 'xlsx', expected csv or parquet"),
    ):
        assert told in shell(wrong, code=2).stderr
    done = shell("predict red.png --set model.channels=16", code=1).stderr
    (run,) = (shell.folder / "work/demo/runs").iterdir()
    assert "predict: no model was trained with these settings (none in " in done
    assert f"; of other settings there are: {run.name}), expected one" in done
    assert "Run: biam-pipe train --dataset demo --set model.channels=16" in done


def test_a_run_stays_where_data_change_and_predictions_are_its_own_until_there_is_another(shell: Shell) -> None:
    (run,) = (shell.folder / "work/demo/runs").iterdir()
    work, more = shell.folder / "work", shell.config("dataset.num_images=100")
    assert (flow.status(shell.config(), work).run, flow.status(more, work).run) == (str(run), None)
    train = flow.plan(more, work, flow.Request("report"))[5]
    assert train.notes == ("its folder gets its name once all that it reads is up to date",)
    Image.new("RGB", (40, 30), "red").save(shell.folder / "red.png")
    request = flow.PredictRequest([str(shell.folder / "red.png")], None, 5, shell.folder / "seen")
    assert flow.predict(more, work, request).model == str(run / "model.safetensors")
    with pytest.raises(PipelineError, match=rf"of other settings there are: {run.name}\)"):
        flow.predict(shell.config("train.run=other"), work, request)


def test_a_named_run_that_may_be_refused_in_the_end_is_told_of_in_the_beginning(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    (run,) = (shell.folder / "work/demo/runs").iterdir()
    work, more = shell.folder / "work", shell.config(f"train.run={run.name}", "dataset.num_images=100")
    held = f"in runs/{run.name}, which holds a run: one over other data is refused there without --replace"
    assert flow.plan(more, work, flow.Request("report"))[5].notes == (held,)
    with pytest.raises(PipelineError, match="time budget"):
        flow.run(more, work, flow.Request("report", quiet=True, deadline=flow.deadline("0s")))
    assert f"train: runs/{run.name} holds a run; one over other data ends there" in caplog.text
    assert flow.plan(more, work, flow.Request("report", replace=True))[5].notes == (f"in runs/{run.name}",)


def test_a_run_with_a_name_is_replaced_only_where_a_user_says_so(shell: Shell) -> None:
    (run,) = (shell.folder / "work/demo/runs").iterdir()
    work, named, request = shell.folder / "work", f"train.run={run.name}", flow.Request("report", quiet=True)
    before = shell.files()
    assert flow.run(shell.config(named), work, request).ran == {}
    told = shell(f"run --set {named} --set train.lr=0.0002 --set backbone.input_px=48", code=2).stderr
    assert f"runs/{run.name} holds a run with other settings (backbone.input_px 224 -> 48; train.lr 0.001 -> " in told
    assert f"or replace that one: biam-pipe run --replace --dataset demo --set {named} --set train.lr=0.0002" in told
    with pytest.raises(UsageError, match="holds a run with other settings"):
        flow.plan(shell.config(named, "train.seed=1"), work, request)
    assert shell.files() == before
    train = flow.plan(shell.config(named, "train.seed=1"), work, replace(request, replace=True))[5]
    assert (train.to_run, train.notes) == (1, (f"in runs/{run.name}",))
    assert shell.ran(f"train --replace --set {named} --set train.seed=1") == {"train": 1}
    assert not (run / "metrics.json").exists()
    assert flow.verify(shell.config(), work).files.problems == ()


def test_a_run_whose_folder_got_its_name_from_settings_alone_stays_there(shell: Shell) -> None:
    """As versions before named it."""
    (run,) = (shell.folder / "work/demo/runs").iterdir()
    record = Ledger(Storage(str(shell.folder / "work/demo")), "train", f"runs/{run.name}", "train.stage").read_record()
    assert record is not None
    recipe = fingerprint({key: value for key, value in record.recipe.items() if key != "outside"})
    old = run.rename(run.with_name(f"biam-released-{recipe[:8]}"))
    for path in old.glob("*.stage.json"):
        receipt = json.loads(path.read_text().replace(f"runs/{run.name}/", f"runs/{old.name}/"))
        said = Receipt.model_validate({key: value for key, value in receipt.items() if key != "hash"})
        path.write_bytes(written(said, f"runs/{old.name}/{path.name}"))
        path.with_suffix(".parquet").unlink()
    before = {path: path.read_bytes() for path in old.iterdir() if path.is_file()}
    assert flow.run(shell.config(), shell.folder / "work", flow.Request("report", quiet=True)).ran == {}
    assert [path.name for path in (shell.folder / "work/demo/runs").iterdir()] == [old.name]
    assert {path: path.read_bytes() for path in before} == before


def test_every_command_has_help_with_an_example() -> None:
    def commands(group: Any, path: str) -> list[tuple[str, Any]]:
        inner = [
            pair for name, one in getattr(group, "commands", {}).items() for pair in commands(one, f"{path} {name}")
        ]
        return [(path, group), *inner]

    for path, command in commands(get_command(cli.app), "biam-pipe"):
        assert f"Example: {path.split()[0]}" in (command.help or ""), path


def _readme(language: str) -> list[str]:
    return [
        block.split("\n", 1)[1]
        for block in (ROOT / "README.md").read_text().split("```")[1::2]
        if block.startswith(language)
    ]


def _readme_commands() -> list[str]:
    lines = [
        line.removeprefix("$ ").split("#")[0].strip()
        for block in _readme("console")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line.removeprefix("biam-pipe ") for line in lines if line.startswith("biam-pipe ")]


def _fetches(command: str) -> bool:
    """Whether it wants a data set or weights that are fetched, which no test can."""
    return any(text in command for text in ("openimages", "--dataset nuswide", "open_clip:"))


def test_the_commands_of_the_readme_run(shell: Shell) -> None:
    commands = [command for command in _readme_commands() if not _fetches(command)]
    assert len(commands) >= 5
    Image.new("RGB", (40, 30), "red").save(shell.folder / "photo.jpg")
    as_a_user = replace(shell, runner=Plain(200.0))  # in which imports, too, leave nothing outside
    for command in commands:
        (as_a_user if command.startswith(("check", "predict")) else shell)(command)


def test_the_commands_of_the_readme_for_published_data_sets_have_verbs_and_settings_that_exist(tmp_path: Path) -> None:

    commands = [shlex.split(command) for command in _readme_commands() if _fetches(command)]
    assert len(commands) >= 3
    for verb, *options in commands:
        assert verb in {*cli.STAGES, "convert", "run"}
        pairs = list(pairwise(options))
        sets = [value for option, value in pairs if option == "--set"]
        (name,) = (value for option, value in pairs if option == "--dataset")
        assert configuration(name, None, {}, sets, tmp_path).dataset.name == name
        assert {one for one in options if one.startswith("--")} <= {"--dataset", "--set", "--retry-failed", "--from"}


def test_the_settings_of_the_readme_are_settings(tmp_path: Path) -> None:

    (block,) = _readme("toml")
    (tmp_path / "readme.toml").write_text(block)
    assert configuration(None, tmp_path / "readme.toml", {}, [], tmp_path).embed.vectors == "glove.6B.300d.txt"


def test_the_code_of_the_readme_reads_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regions = np.arange(14 * 14 * 512, dtype="<f2")
    column = pa.array([regions.tobytes()], pa.binary(regions.nbytes))
    pq.write_table(pa.table({"conv5": column}), tmp_path / "shard-00000.parquet")
    monkeypatch.chdir(tmp_path)
    block = _readme("python")[1]
    names: dict[str, Any] = {}
    exec(block, names)
    assert np.array_equal(names["regions"], regions.reshape(14, 14, 512))


def test_the_lines_of_the_readme_for_python_say_what_the_commands_do(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (40, 30), "red").save(shell.folder / "photo.jpg")
    monkeypatch.chdir(shell.folder)
    before = shell.files()
    names: dict[str, Any] = {}
    exec(_readme("python")[0], names)
    assert shell.files() == before
    assert (len(names["features"]), names["table"].num_rows, names["batch"]["labels"].shape[1]) == (80, 80, 24)
    told = shell.json('predict photo.jpg --labels "red circle,striped"')["images"][0]["labels"]
    assert {one["label"]: one["score"] for one in told} == pytest.approx(names["scores"][0].scores, abs=1e-6)
    assert names["metrics"]("work") == shell.json("run")["metrics"]
    _a_model_says_what_it_cannot_do(names["load_model"]("work/demo/runs"), shell)


def _a_model_says_what_it_cannot_do(model: Any, shell: Shell) -> None:
    (run,) = (shell.folder / "work/demo/runs").iterdir()
    assert (model.path, model.name, len(model.labels), len(model.seen)) == (run / "model.safetensors", "biam", 32, 24)
    fine, gone = model.predict([Path("photo.jpg"), "nothing.jpg"])
    assert (tuple(fine.scores), gone.status, gone.scores) == (model.labels, "missing_file", {})
    for images, words, told in (
        ([], None, "predict: no image given"),
        ("photo.jpg", None, "predict: got a single path or word, expected lists of images and of words"),
        (["photo.jpg"], [" "], "predict: no label asked for"),
        (["photo.jpg"], ["xyzzy"], "predict: no word of 'xyzzy' has a vector in demo:vectors.txt"),
    ):
        with pytest.raises(UsageError, match=told):
            model.predict(images, words)
    with pytest.raises(UsageError, match=r"load_model: no run in .*nothing has done train, expected a run's folder"):
        load_model(shell.folder / "nothing")
    shutil.copytree(run, shell.folder / "taken out")
    assert metrics(shell.folder / "taken out") == metrics(run)
    _flip_a_bit(shell.folder / "taken out/metrics.json")
    with pytest.raises(IntegrityError, match=r"taken out/metrics.json is not what its receipt says"):
        metrics(shell.folder / "taken out")


def test_the_next_command_of_an_error_keeps_the_work_folder_and_the_settings_and_runs(fresh: Shell) -> None:
    given = "--work 'other work' --set dataset.num_images=40"
    told = fresh.json(f"extract --only --dataset demo {given}", code=1)
    assert told["next_command"] == f"biam-pipe index --dataset demo {given}"
    assert told["error"].endswith(f" (found 0 tasks, expected an index first). Run: {told['next_command']}")
    assert (told["got"], told["expected"]) == ("0 tasks", "an index first")
    assert f"Run: {told['next_command']}\n" in fresh(f"extract --only --dataset demo {given}", code=1).stderr
    assert fresh.ran(told["next_command"].removeprefix("biam-pipe ")) == {"index": 1}


def test_the_next_command_after_a_wrong_setting_is_the_same_with_a_right_one(shell: Shell) -> None:
    told = shell.json("plan --set model.top_k=1000 --set train.epochs=0 --dataset demo", code=2)
    assert told["next_command"] == "biam-pipe plan --json --dataset demo --set model.top_k=1000 --set train.epochs=40"


def test_runs_are_listed_compared_promoted_looked_at_and_cleaned(shell: Shell) -> None:
    (first,) = (path.name for path in (shell.folder / "work/demo/runs").iterdir())
    shell("evaluate --set train.seed=1")
    other, _ = (run["name"] for run in shell.json("runs")["runs"])
    assert max(map(len, shell("runs").stdout.splitlines())) <= 80
    told = shell.json(f"runs promote {first}")
    assert (told["moved"], told["latest"]["run"], told["exit_code"]) == (True, first, 0)
    told = shell.json(f"runs diff latest {other}")
    assert told["settings"] == {"train.seed": [0, 1]}
    assert {one["section"] for one in told["figures"]} == {"zsl", "gzsl"}
    assert "unknown run 'nobody'" in shell("runs diff latest nobody", code=2).stderr
    assert shell.json("status --set train.lr=0.5 --run latest")["run"].endswith(first)
    before = (shell.folder / "work/demo/runs" / other / "model.safetensors").read_bytes()
    assert shell.ran(f"report --run {other}") == {"report": 1}
    assert (shell.folder / "work/demo/runs" / other / "model.safetensors").read_bytes() == before
    assert [one["path"] for one in shell.json("clean --keep 0")["found"]] == [f"runs/{other}"]
    assert "removed: " in shell("clean --keep 0 --yes").stdout
    assert not (shell.folder / "work/demo/runs" / other).exists()
    assert shell.ran("run") == {}
