"""The feature card."""

import feature_rows

from pipeline.stores import STORES
from pipeline.stores.card import card


def test_the_card_says_what_the_features_are() -> None:
    spec = feature_rows.spec().model_copy(update={"weights": "good weights", "weights_sha256": "ab" * 32})
    text = card("demo", spec, STORES.load("parquet"), "free", {"decode_error": 1, "ok": 3, "removed": 2})

    assert text.startswith("# Features of demo: small\n\nOutputs of small with the weights good weights.\n")
    assert "| grid | region | conv9 | 3 x 2 x 5 | float16 |" in text
    assert "| whole | global | fc9 | 7 | float16 |" in text
    assert f"Weights: good weights, sha256 {'ab' * 32}\n" in text
    assert "64 x 64 (bilinear, with antialias, no crop)" in text
    assert 'pq.read_table("shard-00000.parquet"' in text
    assert "Weights: free." in text
    assert "3 of 4 images have features (75.0%)." in text
    assert "| decode_error | 1 |" in text
    assert "small (good weights), biam-pipe recipe 11111111" in text


def test_random_weights_are_said_plainly() -> None:
    text = card("demo", feature_rows.spec(), STORES.load("hdf5"), "none", {"ok": 2})

    assert "**Random weights** (random:3): the network was never trained." in text
    assert "(of the seed: no file exists)" in text
    assert "shard-00000.h5" in text


def test_the_card_says_what_may_change_the_last_digits_unless_nobody_knows_how_the_features_were_made() -> None:
    spec = feature_rows.spec()
    text = card("demo", spec.model_copy(update={"compiled": True}), STORES.load("hdf5"), "none", {"ok": 2})
    imported = card("demo", spec.model_copy(update={"origin": "a file"}), STORES.load("hdf5"), "none", {"ok": 2})

    assert "Precision of the network: fp32, compiled\n" in text
    told = " ".join(text.split())
    assert "on a CPU whatever `extract.batch_images` and `engine.threads`, too" in told
    assert "in fp32 within 1e-5 of a map's largest number" in told
    assert "extract.batch_images" not in imported
