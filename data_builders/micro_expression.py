"""Base class of the builders of micro-expression databases: their record and its options."""

from typing import Any, ClassVar

import tensorflow_datasets as tfds

from atnet_jax.data import record
from atnet_jax.preprocessing.face import Box
from atnet_jax.preprocessing.motion import Motion, all_motions, motion_named
from atnet_jax.preprocessing.optical_flow import flow_method
from data_builders.builder import ExpressionBuilder
from data_builders.records import ClipJob
from data_builders.source import Entry


class MicroExpressionBuilder(ExpressionBuilder, skip_registration=True):
    """Base class of the builders. A subclass only implements how its database's folder is read.

    The TFDS configuration, `config`, names a `Motion`. Data of several configurations can be in
    one `data_dir`.
    """

    VERSION = tfds.core.Version(record.VERSION)
    RELEASE_NOTES = record.RELEASE_NOTES
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=motion.name, description=f"Prepared with {motion.flags}.")
        for motion in all_motions()
    ]

    def features(self) -> tfds.features.FeaturesDict:
        """See `record.features`."""
        return record.features()

    def make_job(self, entry: Entry, box: Box | None) -> ClipJob:
        """See the base class."""
        motion = self._motion
        reach = flow_method(motion.flow).reach
        return ClipJob(entry, self.face, box, motion.flow, reach, motion.options)

    def options(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().options(), "flow": self._motion.flow, **self._motion.options}

    @property
    def _motion(self) -> Motion:
        assert self.builder_config is not None
        return motion_named(self.builder_config.name)
