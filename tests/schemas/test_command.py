"""A command line as a value: how it is typed, and what it takes over from the one that the user gave."""

import shlex

import pytest

from schemas.command import AGAIN, Command

GIVEN = Command.parse(
    shlex.split(
        "extract --only --set store.name=hdf5 --set train.lr=0.5 --work 'w 2' --set=store.name=parquet --dataset demo"
    )
)


def test_a_command_is_written_as_a_shell_takes_it() -> None:
    sets = {"store.name": "hdf5", "backbone.layers": [], "extract.compile": False, "train.patience": None}
    assert str(Command("extract", dataset="demo", options={"--work": "w 2"}, sets=sets)) == (
        "biam-pipe extract --dataset demo --work 'w 2' --set store.name=hdf5 --set 'backbone.layers=[]' "
        "--set extract.compile=false --set train.patience=null"
    )
    assert str(Command("predict", ("a photo.jpg", "--top", "3"))) == "biam-pipe predict 'a photo.jpg' --top 3"


def test_of_an_option_given_more_than_once_the_last_counts() -> None:
    assert (
        Command("extract", ("--only",), "demo", {"--work": "w 2"}, {"store.name": "parquet", "train.lr": "0.5"})
        == GIVEN
    )
    assert Command.parse([]) == AGAIN


@pytest.mark.parametrize("command", [GIVEN, Command("show", ("config",)), Command("run", sets={"a.b": "c = 'd'"})])
def test_what_is_written_is_read_again(command: Command) -> None:
    program, *arguments = shlex.split(str(command))
    assert program == "biam-pipe"
    assert Command.parse(arguments) == command


def test_options_that_the_user_gave_are_added_where_the_command_names_none_itself() -> None:
    command = Command("train", dataset="other", sets={"store.name": "hdf5"}).with_options(GIVEN)
    assert str(command) == "biam-pipe train --dataset other --work 'w 2' --set train.lr=0.5 --set store.name=hdf5"
    assert command.with_options(GIVEN) == command
    assert Command("verify").with_options(GIVEN).dataset == "demo"


def test_a_command_without_verb_is_the_one_that_the_user_gave() -> None:
    command = Command(sets={"train.lr": 0.1})
    assert str(command) == "--set train.lr=0.1"
    assert str(command.with_options(GIVEN)) == (
        "biam-pipe extract --only --dataset demo --work 'w 2' --set store.name=parquet --set train.lr=0.1"
    )
    assert str(AGAIN) == ""
    assert AGAIN.with_options(GIVEN) == GIVEN


def test_options_of_the_verb_can_be_left_out() -> None:
    given = Command("compare", ("--seeds", "-1", "--models=lesa", "--vary", "split"))
    assert given.without(["--seeds", "--models", ""]).words == ("--vary", "split")
