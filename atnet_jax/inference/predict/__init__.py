"""Prediction of the expression in the user's own clip: `atnet predict RUN CLIP…`.

A video file or a folder of frames passes the same steps as the training data: face detection,
window, optical flow, features. The networks then compute scores of the three classes. If the user
does not pass the apex, or the onset and offset, they are spotted first.
"""

from atnet_jax.inference.predict.answers import Answer, Expression, Options, predict_clip

__all__ = ["Answer", "Expression", "Options", "predict_clip"]
