"""The demo's promises: balanced labels, words that carry over, pictures that only the seed decides."""

import io
import json
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import demo
from pipeline.datasets.demo.drawing import jpeg
from pipeline.datasets.demo.scene import COLOURS, LABELS, LOOKS, SHAPES, TEXTURES, UNSEEN, dealt_labels, scene
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.datasets.demo.vectors import DIMENSIONS, glove_text
from schemas.status import LabelRole


def rows(config: DemoDataset) -> list[dict]:
    return [row for table in demo.records(config, Counter()) for row in table.to_pylist()]


def test_at_least_six_unseen_labels_whose_words_all_occur_in_seen_ones() -> None:
    labels = demo.labels(DemoDataset())
    unseen = [label.name for label in labels if label.role == LabelRole.UNSEEN]
    seen_words = {word for label in labels if label.role == LabelRole.SEEN for word in label.name.split()}

    assert len(unseen) >= 6
    assert {word for name in unseen for word in name.split()} <= seen_words


@pytest.mark.parametrize("seed", [0, 1])
def test_label_frequency_says_nothing_about_being_unseen(seed: int) -> None:
    config = DemoDataset(seed=seed)
    images = rows(config)
    share = {name: np.mean([name in row["positive"] for row in images]) for name in LABELS}
    unseen = [share[name] for name in UNSEEN]
    seen = [share[name] for name in LABELS if name not in UNSEEN]

    assert len(images) >= 400
    assert min(share.values()) >= 0.08
    assert max(share.values()) <= 0.25
    assert abs(np.mean(unseen) - np.mean(seen)) < 0.005


def test_two_unseen_labels_share_at_most_a_shape() -> None:
    for one, other in combinations(UNSEEN, 2):
        assert one.split()[0] != other.split()[0]


def test_every_picture_holds_two_to_five_objects_of_a_size_that_can_be_seen() -> None:
    for number in range(64):
        drawn = scene(0, number)
        sides = [item.side_px / min(drawn.width, drawn.height) for item in drawn.items]
        assert 2 <= len(sides) <= 5
        assert all(0.18 <= side <= 0.45 for side in sides)
        assert 240 <= drawn.width <= 1024
        assert 240 <= drawn.height <= 1024
        assert tuple(f"{item.look} {item.shape}" for item in drawn.items) == dealt_labels(0, number)


def test_objects_seldom_overlap() -> None:
    gaps = []
    for number in range(64):
        for one, other in combinations(scene(0, number).items, 2):
            apart = np.hypot(one.x_px - other.x_px, one.y_px - other.y_px)
            gaps.append(apart / (0.45 * (one.side_px + other.side_px)))

    assert np.mean(np.array(gaps) < 1) < 0.1


def test_more_images_leave_the_first_ones_as_they_are() -> None:
    assert rows(DemoDataset(num_images=200))[:100] == rows(DemoDataset(num_images=100))


def test_the_seed_alone_decides_labels_and_bytes() -> None:
    first, again, other = (jpeg(scene(seed, 3)) for seed in (0, 0, 1))

    assert first == again != other
    assert rows(DemoDataset(seed=0)) != rows(DemoDataset(seed=1))


def test_another_seed_is_another_address_so_that_it_is_downloaded_again() -> None:
    old, new = (rows(DemoDataset(seed=seed, num_images=1))[0] for seed in (0, 1))

    assert old["locations"] != new["locations"]


@pytest.mark.parametrize("look", LOOKS)
def test_an_object_shows_its_colour_or_its_texture(look: str) -> None:
    number = next(n for n in range(200) if any(name.startswith(look) for name in dealt_labels(0, n)[-1:]))
    item = scene(0, number).items[-1]
    picture = np.asarray(Image.open(io.BytesIO(jpeg(scene(0, number)))).convert("RGB"), dtype=np.float64)
    half = item.side_px * 0.2  # inside every shape but the arms of a cross, whose middle it is
    x, y = round(item.x_px), round(item.y_px)
    middle = picture[int(y - half) : int(y + half), int(x - half) : int(x + half)]

    if look in TEXTURES:
        assert (middle.mean(axis=2) < 80).any()
        assert (middle.mean(axis=2) > 180).any()
    else:
        assert np.abs(middle.mean(axis=(0, 1)) - np.array(COLOURS[look])).max() < 40


def test_word_vectors_are_in_glove_text_form_and_nearly_at_right_angles() -> None:
    lines = glove_text().decode().splitlines()
    vectors = {line.split(" ")[0]: np.array(line.split(" ")[1:], dtype=np.float64) for line in lines}

    assert set(vectors) == {*LOOKS, *SHAPES}
    assert {len(vector) for vector in vectors.values()} == {DIMENSIONS}
    for one, other in combinations(vectors.values(), 2):
        assert abs(one @ other) / np.linalg.norm(one) / np.linalg.norm(other) < 0.2


def test_the_server_gives_pictures_vectors_and_404() -> None:
    config = DemoDataset(num_images=2)
    with demo.base_addresses(config) as bases:
        base = bases["demo"]
        place = rows(config)[1]["locations"][0]
        with urlopen(f"{base}/{place['address']}") as answer:
            assert answer.headers["Content-Type"] == "image/jpeg"
            assert answer.read() == jpeg(scene(0, 1))
        with urlopen(f"{base}/images/000001.jpg") as answer:
            assert answer.read() == jpeg(scene(0, 1))
        with urlopen(f"{base}/{demo.VECTORS_ADDRESS}") as answer:
            assert answer.read() == glove_text()
        for wrong in ("", "images/000002.jpg", "images/1.jpg", "images/-00001.jpg", "images/²²²²²².jpg", "other"):
            assert status(f"{base}/{wrong}".encode().decode("latin-1")) == 404
        assert status(f"{base}/images/000001.jpg?seed=1&edition=1") == 404


def status(address: str) -> int:
    host, target = urlsplit(address).netloc, address.split("/", 3)[3]
    name, port = host.split(":")
    with socket.create_connection((name, int(port))) as connection, connection.makefile("rwb") as file:
        file.write(f"GET /{target} HTTP/1.0\r\n\r\n".encode("latin-1"))
        file.flush()
        return int(file.readline().split()[1])


def test_no_address_in_the_records_holds_a_host() -> None:
    text = json.dumps(rows(DemoDataset(num_images=3)))

    assert "127.0.0.1" not in text
    assert "http" not in text


def test_the_server_takes_a_burst_survives_hang_ups_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = threading.active_count()
    with demo.base_addresses(DemoDataset(num_images=8)) as bases:
        host = (urlsplit(bases["demo"]).hostname or "", urlsplit(bases["demo"]).port or 0)
        with socket.create_connection(host) as rude:
            rude.sendall(b"GET /images/000000.jpg HTTP/1.0\r\n\r\n")
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(fetched, [f"{bases['demo']}/images/{n % 8:06d}.jpg" for n in range(48)]))

    assert answers[:8] * 6 == answers
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(host).close()
    assert capsys.readouterr() == ("", "")


def fetched(address: str) -> bytes:
    with urlopen(address) as answer:
        return answer.read()


def test_a_wrong_address_is_an_http_error_for_ordinary_clients() -> None:
    with demo.base_addresses(DemoDataset(num_images=1)) as bases, pytest.raises(HTTPError, match="404") as raised:
        urlopen(f"{bases['demo']}/nothing")
    raised.value.close()
