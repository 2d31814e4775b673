"""Pretrained weights: import from Caffe, storage and use as a starting point of training."""
