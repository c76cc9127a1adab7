import numpy as np
import pytest
import torch

from pipeline.models import attention_per_cluster
from pipeline.models.attention_per_cluster.clusters import k_means, nearest
from pipeline.models.attention_per_cluster.network import AttentionPerCluster
from pipeline.models.fitting import Fitting
from schemas.errors import UsageError


def fitting(words: torch.Tensor, seed: int = 0) -> Fitting:
    none = torch.zeros(len(words), dtype=torch.int64)
    return Fitting(words=words, present=none, absent=none, train=list, validated=None, seed=seed)


def rows(number: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(number, 5))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_scores_are_those_of_the_reference(reference):
    given = {name: torch.tensor(array) for name, array in reference("competitors/attention_variants.npz").items()}
    network = AttentionPerCluster(3, 3, clusters=2).double()
    network.attention.hidden.data, network.attention.energy.data = given["w_att_1"], given["w_att_2"]
    network.projection.data, network.centroids = given["W"], given["centroids"]
    assert network.cluster(given["seen_words"]).tolist() == given["cluster_of_seen"].tolist()
    assert network.cluster(given["unseen_words"]).tolist() == given["cluster_of_unseen"].tolist()
    for words, scores in (("seen_words", "per_cluster_scores"), ("unseen_words", "per_cluster_zsl")):
        found = network.scored(given["features"], given[words])
        torch.testing.assert_close(found, given[scores], rtol=0, atol=1e-6)


def test_clusters_are_found_again():
    centres = np.eye(5)[:3]
    noise = np.random.default_rng(0).normal(scale=0.05, size=(60, 5))
    many = np.repeat(centres, 20, axis=0) + noise
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    of_row = nearest(many, k_means(many, 3, np.random.default_rng(1)))
    assert [len(set(of_row[start : start + 20])) for start in (0, 20, 40)] == [1, 1, 1]
    assert len(set(of_row[::20])) == 3


@pytest.mark.parametrize("seed", range(5))
def test_no_cluster_is_empty_though_words_repeat(seed: int):
    words = np.concatenate([np.repeat(rows(1), 30, axis=0), rows(5, seed=1)])
    centroids = k_means(words, 6, np.random.default_rng(seed))
    assert set(nearest(words, centroids)) == set(range(6))
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1)


def test_the_seed_of_the_run_decides_the_clusters():
    words = torch.from_numpy(rows(40)).float()
    settings = attention_per_cluster.AttentionPerClusterConfig(clusters=4)
    one, same, other = (attention_per_cluster.fit(settings, fitting(words, seed)) for seed in (0, 0, 1))
    assert torch.equal(one.buffers["centroids"], same.buffers["centroids"])
    assert not torch.equal(one.buffers["centroids"], other.buffers["centroids"])
    assert sum(one.facts["labels_by_cluster"]) == 40


def test_more_clusters_than_different_words_are_refused():
    words = torch.from_numpy(np.repeat(rows(3), 2, axis=0)).float()
    with pytest.raises(UsageError, match=r"clusters: got 10, but the seen labels have 3 different words.*clusters=3"):
        attention_per_cluster.fit(attention_per_cluster.AttentionPerClusterConfig(), fitting(words))


def test_response_maps_show_the_attention_of_a_labels_cluster():
    torch.manual_seed(0)
    network = AttentionPerCluster(4, 5, clusters=3).eval()
    network.centroids = torch.from_numpy(rows(3)).float()
    region, words = torch.rand(2, 3, 2, 4), torch.from_numpy(rows(6, seed=2)).float()
    maps = network.response_maps(region, words)
    weights = network.attention(network.trunk(region)).softmax(dim=1)
    of_label = network.cluster(words)[4]
    torch.testing.assert_close(maps[1, 4].flatten(), weights[1, :, of_label])
