"""Vectors of labels from a text tower of open_clip: `open_clip:MODEL:WEIGHTS`. Every label has one.

A label's name is put into prompts; its vector is the l2-normalised mean of the l2-normalised vectors of those texts.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.engine.fingerprint import fingerprint
from pipeline.files.storage import sha256_once
from pipeline.files.weights_file import WeightsFile
from pipeline.net.fetch import fetch
from pipeline.net.look import OutsideFile
from pipeline.towers.tower import FAMILY, Tower, prompts, random_sha256, tokenizer_sha256
from pipeline.vectors.cache import cached_vectors
from pipeline.vectors.embedding import Embedding
from pipeline.vectors.parser import WordVectors
from pipeline.vectors.rule import Words, normalised
from pipeline.vectors.source import Bases, Embedded
from schemas.command import Command
from schemas.config import EmbedConfig
from schemas.errors import PipelineError, UsageError
from schemas.readable import hashes_apart

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETTING = "embed.vectors"


@dataclass(frozen=True)
class TextTower:
    """A text tower."""

    config: EmbedConfig
    computes = True

    @cached_property
    def tower(self) -> Tower:
        """What the settings name.

        Raises:
            PipelineError: open_clip is not installed.
            UsageError: it has no such model, or weights are missing in the name.
        """
        tower = Tower.named(SETTING, self.config.vectors)
        if not tower.weights:
            raise UsageError(
                f"{SETTING} = {self.config.vectors!r}: weights are missing",
                expected=f"{self.config.vectors}:TAG, :PATH or :random:SEED",
            )
        return tower

    @property
    def stem(self) -> str:
        """Family, model and weights, without the path on this machine."""
        weights = Path(self.tower.weights).stem if self.tower.path else self.tower.weights
        return re.sub(r"[^a-z0-9]+", "-", f"{FAMILY}-{self.tower.model}-{weights}".lower()).strip("-")

    @property
    def paths(self) -> tuple[str, ...]:
        """The user's file of weights, where there is one."""
        return () if self.tower.path is None else (self.tower.path,)

    @property
    def expected(self) -> str:
        """The setting."""
        return SETTING

    def recipe(self, hashes: Sequence[str]) -> dict[str, Any]:
        """The weights by hash where they are the user's, the tokenizer by hash, and the prompts word by word."""
        weights = hashes[0] if hashes else self.tower.weights
        return {
            SETTING: f"{FAMILY}:{self.tower.model}:{weights}",
            "embed.tokenizer": tokenizer_sha256(),
            "embed.prompts": list(prompts(self.config.prompts)),
        }

    def outside_files(self, bases: Mapping[str, str]) -> tuple[OutsideFile, ...]:
        """The file of weights, where they are not random."""
        del bases  # data sets serve none
        if self.tower.seed is not None:
            return ()
        if self.tower.path is not None:
            return (OutsideFile(SETTING, self.tower.path, sha256=self.config.sha256),)
        file = self.tower.published.file
        return (OutsideFile(SETTING, file.address(), file.here() or file.kept(), self.config.sha256),)

    def without(self, names: Sequence[str]) -> list[int]:
        """None.

        Raises:
            UsageError: there is no such tag, or open_clip itself cannot read texts for the tower.
        """
        del names
        self.tower.require_text()
        if self.tower.seed is None and self.tower.path is None:
            assert self.tower.published
        return []

    def embed(self, names: Sequence[str], bases: Mapping[str, str], device: str) -> Embedded:
        """The vector of each name in its prompts."""
        del bases
        texts = self._texts(names)
        found = self._vectors(device, texts.values())
        rows = [Embedding(Words((texts[name],), ()), found.vectors[texts[name]]) for name in names]
        told = {
            "tower": {"model": self.tower.model, "weights": self._label()},
            "tokenizer_sha256": tokenizer_sha256(),
            "prompts": list(prompts(self.config.prompts)),
        }
        return Embedded(rows, found.dimensions, self._sha256(), told)

    def requested(self, names: Sequence[str], sha256: str, bases: Bases, device: str) -> dict[str, Embedding]:
        """The same; the tower is loaded only for texts that were never encoded with it and these prompts."""
        del bases
        texts = self._texts(names)
        key = fingerprint([sha256, tokenizer_sha256(), self.tower.model, prompts(self.config.prompts)])
        known = cached_vectors(key, set(texts.values()), partial(self._unchanged_vectors, sha256, device))
        return {name: Embedding(Words((text,), ()), known[text]) for name, text in texts.items()}

    def _unchanged_vectors(self, sha256: str, device: str, texts: Collection[str]) -> WordVectors:
        if (actual := self._sha256()) != sha256:
            got, before = hashes_apart(actual, sha256)
            raise PipelineError(
                f"{SETTING}: {self.config.vectors} has sha256 {got}, the label matrix was made from {before};",
                expected="the same",
                hint=f"Set {SETTING} to those weights, or run:",
                run=Command("train"),
            )
        return self._vectors(device, texts)

    def _texts(self, names: Sequence[str]) -> dict[str, str]:
        """What stands for each name: the user's words for it, else the name itself."""
        instead = {normalised(name): words for name, words in self.config.overrides.items()}
        return {name: " ".join(instead.get(normalised(name), name).split()) for name in names}

    def _vectors(self, device: str, texts: Collection[str]) -> WordVectors:
        from pipeline.machine.device import resolve_device
        from pipeline.towers.networks import text_vectors

        self.tower.require_text()
        model, file, seed = self.tower.model, self._file(), self.tower.seed
        weights: int | WeightsFile | None = seed
        if file is not None:
            weights = WeightsFile(file, SETTING, "embed", f"open_clip's {model}", f"{FAMILY}:{model}:PATH")
        assert weights is not None, "one of them is there"
        ordered, where = sorted(set(texts)), resolve_device(device, "extract.device")
        rows = text_vectors(model, weights, ordered, prompts(self.config.prompts), where).numpy()
        if not np.isfinite(rows).all():
            raise PipelineError(f"{SETTING} = {self.config.vectors}: vectors are not finite numbers. Use other weights")
        vectors: dict[str, NDArray[np.float32]] = dict(zip(ordered, rows, strict=True))
        return WordVectors(self.tower.size, vectors)

    def _file(self) -> Path | None:
        """The file of weights, fetched if need be and checked against `embed.sha256`; None where they are random."""
        if self.tower.seed is not None:
            return None
        if self.tower.path is not None:
            return fetch(self.tower.path, Path(self.tower.path), self.config.sha256, setting=SETTING)
        return self.tower.published.file.local(self.config.sha256, setting=SETTING)

    def _sha256(self) -> str:
        file, seed = self._file(), self.tower.seed
        if file is not None:
            return sha256_once(file)
        assert seed is not None, "else there is a file"
        return random_sha256(self.tower.model, seed)

    def _label(self) -> str:
        """The weights' name, without the path on this machine."""
        return Path(self.tower.weights).name if self.tower.path else self.tower.weights
