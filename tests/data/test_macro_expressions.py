"""Streamed pictures: their selection, subjects, split and memory."""

import tracemalloc

import numpy as np
import pytest

from atnet_jax.data.macro_expressions import load_macro_pictures, split_by_subject
from atnet_jax.errors import UserError
from tests.data_builders.macro_sets import Picture, write_set


def noise(seed: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)


def subjects_of(pictures, side: np.ndarray) -> set[tuple[str, str]]:
    return {pictures.subjects[subject] for subject in pictures.subject[side]}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Sets of 10, 3, 2 and 1 subjects with three pictures each; the names of subjects repeat."""
    root = tmp_path_factory.mktemp("prepared")
    for number, (name, subjects) in enumerate(
        {"ck_plus": 10, "jaffe": 3, "mug": 2, "image_folder": 1}.items()
    ):
        rows = [
            Picture(f"S{k // 3}", (k + number) % 3, noise(100 * number + k))
            for k in range(3 * subjects)
        ]
        write_set(root, name, rows)
    return root


def test_pictures_come_back_in_the_order_asked_for(data_dir):
    pictures = load_macro_pictures(data_dir, ("jaffe", "ck_plus"), image_size=64)
    assert len(pictures.labels) == 9 + 30
    assert pictures.labels.tolist() == [(k + 1) % 3 for k in range(9)] + [k % 3 for k in range(30)]
    assert pictures.subjects[0] == ("jaffe", "S0")
    assert pictures.subjects[pictures.subject[9]] == ("ck_plus", "S0")
    assert len(pictures.subjects) == 13
    expected = [noise(100 + k) for k in range(9)] + [noise(k) for k in range(30)]
    order = np.array([38, 0, 9, 8, 0, 20, 21])
    batches = list(pictures.batches(order, batch_size=3))
    assert [batch.shape for batch in batches] == [(3, 64, 64, 1), (3, 64, 64, 1), (1, 64, 64, 1)]
    assert batches[0].dtype == np.uint8
    for picture, image in zip(order, np.concatenate(batches), strict=True):
        assert np.array_equal(image[..., 0], expected[picture])


def test_pictures_are_reduced_by_averaging(data_dir):
    pictures = load_macro_pictures(data_dir, ("ck_plus",), image_size=32)
    means = noise(5).reshape(32, 2, 32, 2).mean((1, 3))
    assert np.abs(pictures.read(5)[..., 0] - means).max() <= 1


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    image, count = noise(0, 224), 400
    write_set(
        tmp_path, "ck_plus", [Picture(f"S{k}", k % 3, np.roll(image, k)) for k in range(count)]
    )
    tracemalloc.start()
    pictures = load_macro_pictures(tmp_path, ("ck_plus",))
    order = np.random.default_rng(0).permutation(count)
    seen = sum(len(batch) for batch in pictures.batches(order, batch_size=16))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == count
    # All pictures are 20 MB, encoded or not; the 64 that are read ahead and a few batches are 4 MB.
    assert peak < 8e6


def test_no_subject_is_on_both_sides(data_dir):
    names = ("ck_plus", "jaffe", "mug", "image_folder")
    pictures = load_macro_pictures(data_dir, names, image_size=32)
    train, validation = split_by_subject(pictures, share=0.2, seed=0)
    assert sorted([*train, *validation]) == list(range(len(pictures.labels)))
    assert not subjects_of(pictures, train) & subjects_of(pictures, validation)
    held = [dataset for dataset, _ in subjects_of(pictures, validation)]
    assert [held.count(name) for name in names] == [2, 1, 1, 0]


def test_a_set_is_split_the_same_way_beside_any_others(data_dir):
    alone = load_macro_pictures(data_dir, ("ck_plus",), image_size=32)
    among = load_macro_pictures(data_dir, ("mug", "ck_plus", "jaffe"), image_size=32)

    def held(pictures, seed: int) -> set[tuple[str, str]]:
        subjects = subjects_of(pictures, split_by_subject(pictures, 0.3, seed)[1])
        return {subject for subject in subjects if subject[0] == "ck_plus"}

    assert len(held(alone, 0)) == 3
    assert all(held(alone, seed) == held(among, seed) for seed in range(5))
    assert len({frozenset(held(alone, seed)) for seed in range(5)}) > 1


def test_share_of_validation(data_dir):
    pictures = load_macro_pictures(data_dir, ("jaffe", "mug"), image_size=32)
    train, validation = split_by_subject(pictures, share=0.0, seed=0)
    assert (len(train), len(validation)) == (15, 0)
    train, _ = split_by_subject(pictures, share=0.5, seed=0)
    assert {dataset for dataset, _ in subjects_of(pictures, train)} == {"jaffe", "mug"}


def test_the_digest_depends_on_the_data(tmp_path):
    def digest(folder: str, rows: list[Picture]) -> str:
        write_set(tmp_path / folder, "mug", rows)
        return load_macro_pictures(tmp_path / folder, ("mug",), image_size=32).sha256

    rows = [Picture("a", 0, noise(0)), Picture("b", 1, noise(1))]
    changed = noise(1)
    changed[0, 0] ^= 1
    digests = {
        digest("same", rows),
        digest("label", [rows[0], rows[1]._replace(label=2)]),
        digest("subject", [rows[0], rows[1]._replace(subject="c")]),
        digest("picture", [rows[0], rows[1]._replace(image=changed)]),
        digest("order", rows[::-1]),
    }
    assert len(digests) == 5
    assert digest("again", rows) in digests


def test_missing_data_are_named_with_the_command_that_prepares_them(data_dir):
    command = "atnet prepare --dataset=oulu_casia --manual_dir=FOLDER_OF_YOUR_COPY --data_dir="
    with pytest.raises(UserError, match=command):
        load_macro_pictures(data_dir, ("ck_plus", "oulu_casia"))


def test_a_record_without_a_picture_is_named(tmp_path):
    write_set(tmp_path, "mug", [Picture("a", 0, noise(0)), Picture("a", 1, None)])
    pictures = load_macro_pictures(tmp_path, ("mug",), image_size=32)
    with pytest.raises(UserError, match="Record 1 of the data set mug contains no picture"):
        list(pictures.batches(np.arange(2), batch_size=2))
