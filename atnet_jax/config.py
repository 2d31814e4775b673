"""Every setting of a run, with the default of the authors' release and what else it can be."""

from typing import TYPE_CHECKING, Any, TypeAlias

from ml_collections import ConfigDict

from atnet_jax import models
from atnet_jax.names import DEFAULT_FLOW

# A ConfigDict's fields are typed as a union of all a field may be; the type checker is told Any.
if TYPE_CHECKING:
    Config: TypeAlias = Any
else:
    Config = ConfigDict

# Fields that change how a run goes, not what it computes: a run may be resumed with others.
OPERATIONAL_FIELDS = (
    "data_dir",
    "folds_per_batch",
    "checkpoint_every",
    "keep_networks",
    "profile",
)


def default_config(model: str) -> Config:
    """The default settings, with the recipe of the method called `model` laid over them.

    An unknown name is refused when the run starts: an error raised while flags are read would come
    out as a traceback.
    """
    config: Config = ConfigDict()

    # --- What is asked ---
    # "cde": composite database evaluation, leave one subject out.
    # "hde": holdout database evaluation, leave one database out.
    # "final": one network of all subjects, to be used on other clips; nothing is left to test.
    # "pretrain": learn from macro-expressions first; writes weights for init_from.
    config.protocol = "cde"
    # The method: the name of a file in atnet_jax/models, or of one of its presets.
    config.model = model
    # The method's own options: the fields of its Model, described there.
    config.options = ConfigDict()
    # All randomness (initial weights, order, resampling, augmentation, dropout) follows from a seed
    # and the fold's number. Several seeds are as many runs, trained side by side: each has a folder
    # of its own in the workdir.
    config.seeds = (0,)
    # Which folds to run: "" is all; "0:17" is 0 to 16; "3,5" is two.
    config.folds = ""
    # Folder of weights that every fold starts from, as `atnet_jax.import_caffe` and pre-training
    # write it; what it does not hold starts at random. "": everything does.
    config.init_from = ""

    # --- Data ---
    # Prepared data sets that form the composite (atnet prepare).
    config.datasets = ("casme2", "samm", "smic")
    # The folder that they were prepared in.
    config.data_dir = "data"
    # The optical flow that they were prepared with, followed by _circular, _steady and _stabilised
    # where --circular, --cancel_alternation and --remove_head_motion were given.
    config.flow = DEFAULT_FLOW
    # Apex frames are prepared at 224×224, the size of the paper. Smaller (112, 56) is faster.
    config.image_size = 224
    # Magnifies the motion in the grey pictures that a method reads, the apex frame and the frames
    # around it (Eulerian, nothing is learned): this many times its own size is added; 0: none. What
    # was prepared of the flow stays as it was.
    config.magnification = 0.0
    # A control: permutes the labels over all clips before folds are made. A sound pipeline then
    # scores at chance, 1/3.
    config.shuffle_labels = False
    # "last": the network after the last epoch is tested. "nested": that after the epoch with the
    # highest UF1 on some training subjects, which the fold holds back and does not train on.
    config.selection = "last"
    # The share of each data set's training subjects held back, by "nested" and by pre-training.
    config.validation_share = 0.2

    # --- Training ---
    config.batch_size = 16
    config.num_epochs = 50
    # Optimiser steps in an epoch; samples run on from one epoch to the next, so that every batch
    # is full and every fold takes as many steps (the release: 2,500 steps in 50 epochs).
    # 0: an epoch is one pass over the fold's samples, its last batch whatever remains.
    config.steps_per_epoch = 50
    # "sgd" (with momentum, as Caffe orders its terms), "adam" or "adamw".
    config.optimizer = "sgd"
    config.learning_rate = 0.01
    # The learning rate is multiplied by decay_factor every decay_epochs epochs; 0: never.
    config.decay_epochs = 10
    config.decay_factor = 0.1
    # After this many epochs the learning rate stays as it is; 0: it goes on.
    config.decay_stops = 0
    # SGD only.
    config.momentum = 0.9
    # Of every parameter; "sgd" and "adam" add it to the gradient ("sgd" not to that of the
    # classifier's bias), "adamw" to the step.
    config.weight_decay = 5e-6
    # Biases (of conv1, of batch normalisation, of the classifier) learn this much faster.
    config.bias_learning_rate_factor = 2.0
    # Minority classes are drawn again, with replacement, up to the majority's count.
    config.balance_classes = True

    # All folds take the clips in the same order, each leaving out those that it may not see, so
    # that what depends on the clips alone is computed once for all folds. Only for epochs of one
    # pass over the clips as they are (steps_per_epoch 0, no balance_classes).
    config.shared_batches = False

    # Augmentation of the apex frame, each with this probability; 0 switches all off, also that of
    # methods that have one of their own.
    config.augment = ConfigDict()
    config.augment.probability = 0.5
    # Rotation angle, uniform between plus and minus this, in degrees.
    config.augment.rotation = 5.0
    # The paper's "pixel shift": "intensity" adds up to ±10 grey levels (as the release does),
    # "translation" moves the picture by up to ±10 pixels (of 224) each way.
    config.augment.shift_kind = "intensity"
    config.augment.shift = 10.0

    # --- Engine ---
    # Folds (of all seeds) trained at once in one program. 0: chosen for the device; as many as its
    # memory holds, but on a CPU 1, or 40 that share batches.
    config.folds_per_batch = 0
    # Of products in convolutions and LSTMs: "float32"; on GPUs and TPUs also "tensorfloat32"
    # (factors rounded to 10 bits) and "bfloat16" (to 7 bits; activations of convolutions are kept
    # in it). Weights, statistics, gates and losses are float32 in each.
    config.precision = "float32"
    # Makes a GPU add in a fixed order, so that a run repeats to the bit; slower.
    config.deterministic = False
    # Writes a profiler trace of one epoch to the workdir.
    config.profile = False
    # Epochs between scorings of the held-out clips, for the figure that a look at the test subjects
    # would have given; 0: only after the last. Training never sees these scores.
    config.score_every = 1
    # Epochs between checkpoints. A killed run goes on from the last one to the same result.
    config.checkpoint_every = 10
    # Whether the network of a finished fold is kept. If not, only its scores of the held-out clips
    # are: a large network (HTNet: 1.7 GB with its optimiser) need not fill the disk 68 times.
    config.keep_networks = True

    chosen = {}
    if model not in models.names():
        config.model, chosen = models.presets().get(model, (model, {}))
    if config.model in models.names():
        method = models.find(config.model)
        config.options.update({**method.options, **chosen})
        config.update(method.recipe)
    config.lock()
    return config
