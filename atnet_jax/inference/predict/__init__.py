"""Predicts the expression in a user's own clip: `atnet predict RUN CLIP…`.

From a video file or a folder of frames to scores of the three classes, along the same line as the
data that the networks were trained on: face, window, optical flow, features, networks. Where the
apex, or the expression's onset and offset, are not given, they are spotted first.
"""

from atnet_jax.inference.predict.answers import Answer, Expression, Options, predict_clip

__all__ = ["Answer", "Expression", "Options", "predict_clip"]
