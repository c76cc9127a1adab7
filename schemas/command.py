"""A command line of biam-pipe as a value: what an error or a result names to go on with."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

_PLACES = ("--dataset", "--work", "--config")  # options that all commands have; `--set` is the other one


@dataclass(frozen=True)
class Command:
    """A command line; `str` gives it as one types it in a shell.

    Attributes:
        verb: such as `extract`; empty for the command that the user gave, once more.
        words: arguments and options that are the verb's own, as they are typed.
        dataset: for `--dataset`; None where it is not known or not to be named.
        options: `--work` and `--config`, by name.
        sets: for `--set`: values by setting, a text or what JSON can say.
    """

    verb: str = ""
    words: tuple[str, ...] = ()
    dataset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Command":
        """The command of these arguments, without the program's name. Of an option given twice the last counts."""
        words: list[str] = []
        places: dict[str, str] = {}
        sets: dict[str, str] = {}
        rest = iter(arguments)
        for word in rest:
            option, equals, value = word.partition("=")
            if option not in (*_PLACES, "--set"):
                words.append(word)
                continue
            text = value if equals else next(rest, "")
            if option == "--set":
                key, _, value = text.partition("=")
                sets[key.strip()] = value
            else:
                places[option] = text
        return cls("".join(words[:1]), tuple(words[1:]), places.pop("--dataset", None), places, sets)

    def with_options(self, given: "Command") -> "Command":
        """This command in the work folder and with the settings of another, as far as it names none itself.

        One without a verb becomes the other, with what words it has itself added.
        """
        return replace(
            self,
            verb=self.verb or given.verb,
            words=self.words if self.verb else (*given.words, *self.words),
            dataset=self.dataset or given.dataset,
            options={**given.options, **self.options},
            sets={**{key: value for key, value in given.sets.items() if key not in self.sets}, **self.sets},
        )

    def without(self, options: Iterable[str]) -> "Command":
        """The same without some options of the verb's own, each with the value behind it."""
        left, rest, gone = list[str](), iter(self.words), set(options)
        for word in rest:
            option, equals, _ = word.partition("=")
            if option not in gone:
                left.append(word)
            elif not equals:
                next(rest, None)
        return replace(self, words=tuple(left))

    def __str__(self) -> str:
        return shlex.join(self._typed())

    def _typed(self) -> Iterator[str]:
        if self.verb:
            yield from ("biam-pipe", self.verb, *self.words)
        if self.dataset is not None:
            yield from ("--dataset", self.dataset)
        for option, value in self.options.items():
            yield from (option, value)
        for key, value in self.sets.items():
            yield from ("--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}")


AGAIN = Command()  # what the user gave, as it was
