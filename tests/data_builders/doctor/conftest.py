"""Copies, records and prepared sets for the doctor, healthy or damaged."""

from typing import ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from atnet_jax.data import record as clip_record
from data_builders.doctor.findings import CheckedClip
from tests.data_builders.conftest import Trees

TREES = Trees()
HAPPY = "CASME2_RAW_selected/sub01/EP02_01f"  # Frames 8…11, apex 10; 7 and 12 lie beside.


def found(checkup):
    """Findings as kind and clip, without the numbers that a small copy cannot have."""
    return {(finding.kind, finding.clip) for finding in checkup.findings}


def texts(checkup, kind):
    return [finding.found for finding in checkup.findings if finding.kind == kind]


def texture(seed, size=(80, 64)):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 15), np.uint8)
    return cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)


def moved(picture, x, y):
    matrix = np.array([[1, 0, x], [0, 1, y]], float)
    return cv2.warpAffine(picture, matrix, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT)


def png(picture):
    return cv2.imencode(".png", picture)[1].tobytes()


HAS = ("apex", "adm", "flow_map", "frames", "flow", "colour", "landmarks")


def record(clip="EP02_01f", *, subject="sub01", seed=0, **changes):
    """A healthy record of onset 117, apex 120, offset 126: ADM rows 29…37."""
    rng = np.random.default_rng(seed)
    adm = np.zeros((64, 128), np.float32)
    adm[29:38] = rng.uniform(0.02, 0.2, (9, 128))
    window = [moved(texture(seed, (224, 224)), 0.3 * n, 0) for n in range(10)]
    values = {
        "apex": png(texture(seed, (224, 224))),
        "adm": adm,
        "flow_map": rng.normal(size=(28, 28, 3)).astype(np.float32),
        "frames": png(np.vstack(window)),
        "flow": rng.normal(size=(224, 224, 2)).astype(np.float32),
        "colour": png(np.dstack([texture(seed, (224, 7 * 224))] * 3)),
        "landmarks": np.full((5, 2), 112, np.float32),
        "dataset": "casme2",
        "subject": subject,
        "clip": clip,
        "emotion": "happiness",
        "label": 1,
        "onset": 117,
        "apex_frame": 120,
        "offset": 126,
        "frame_rate": 200.0,
        "crop_box": np.array([10, 20, 110, 120], np.float32),
    }
    values |= {f"has_{name}": True for name in HAS}
    return values | changes


def healthy_adm():
    return record()["adm"]


def alternating_adm():
    adm = healthy_adm()
    adm[29:38, ::2] = np.where(np.arange(9)[:, None] % 2, 0.2, 0.2 - np.pi)
    return adm


def write_set(data_dir, name, records, *, without=(), **features):
    """A prepared set as TFDS writes it, with other features where some are named."""
    features = {**clip_record.features(), **features}
    features = {name: feature for name, feature in features.items() if name not in without}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.0")
        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="farneback")]

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict(
                    notes=["a note"],
                    excluded=[{"subject": "s", "clip": "c", "reason": "the apex is not annotated"}],
                ),
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, record in enumerate(records):
                yield number, {name: value for name, value in record.items() if name in features}

    Builder.name = name
    tfds.disable_progress_bar()
    Builder(data_dir=str(data_dir)).download_and_prepare(file_format="array_record")
    return data_dir / name / "farneback/1.2.0"


def clip(key, label, apex=5):
    dataset, subject, name = key.split("/")
    return CheckedClip(dataset, subject, name, label, 1, apex, 9, 9, {"sha256": digit(key)})


def digit(key):
    """Return a different digest for every key."""
    return f"{sum(map(ord, key)):064x}"


def write_list(path, rows, header="dataset,subject,clip,label,apex_frame_file"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def remove_frame(tree):
    (tree / HAPPY / "img9.jpg").unlink()
