import torch

from pipeline.models.shared.input_norm import InputNorm, training_mean

FEATURES = torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 2.0]], dtype=torch.float16)


def test_a_feature_is_divided_by_its_norm_and_zeros_stay() -> None:
    torch.testing.assert_close(InputNorm("l2", 2)(FEATURES)[:2], torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_a_centred_feature_is_taken_less_the_mean_of_the_training_images() -> None:
    norm = InputNorm("centred", 2)
    norm.mean = training_mean([FEATURES[:2], FEATURES[2:]])
    torch.testing.assert_close(norm.mean, torch.tensor([3.0, 2.0]))
    torch.testing.assert_close(norm(FEATURES)[0], torch.tensor([0.0, 1.0]))


def test_a_map_counts_by_the_mean_of_its_regions() -> None:
    region = torch.stack([FEATURES, FEATURES + 2], dim=1).unflatten(1, (1, 2))
    torch.testing.assert_close(InputNorm("none", 2)(region), FEATURES.float() + 1)
