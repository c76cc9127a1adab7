"""What prediction refuses; that it agrees with the evaluation is tested at the command line."""

from pathlib import Path

import pytest
from small_work import make

from pipeline.commands import predict
from pipeline.settings.layers import configuration
from schemas.errors import PipelineError


def test_weights_other_than_those_behind_the_features_are_refused(tmp_path: Path):
    work = make(tmp_path)
    config = configuration("demo", None, {}, ["backbone.name=tiny", "backbone.weights=random:5"], tmp_path)
    with pytest.raises(PipelineError, match=r"weights have sha256 .*features were made with 0{16}.*biam-pipe train"):
        predict._feature_spec(config, work.left())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a b/c", "a-b-c"),
        ("../..", "x"),
        ("Straße", "Straße"),
        ("x" * 99, "x" * 60),
        ("a" + "漢" * 99, "a" + "漢" * 19),
    ],
)
def test_names_become_parts_of_file_names(text: str, part: str):
    assert predict._slug(text) == part
