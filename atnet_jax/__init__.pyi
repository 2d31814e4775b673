# The Python interface: the names of `import atnet_jax`, by the module that each comes from.

from . import models
from .data.composite import Composite, Exclusion, load_composite
from .data.folds import Fold, make_folds
from .errors import UserError
from .evaluation.inflation import InflatedFigures, inflated_figures
from .evaluation.metrics import confusion_matrix, evaluate, score
from .evaluation.predictions import Prediction
from .evaluation.runs import Curve, Run, load_run, load_runs
from .evaluation.statistics import PairedTests, Summary, compare, summarise
from .experiments.config_file import config_names, load_config
from .experiments.fold import TrainedFold, train_fold
from .experiments.train import train
from .inference.explain import Explanation, explain
from .inference.predict import Answer, Expression, Options, predict_clip
from .models.handcrafted.tim import interpolate_frames
from .models.hoof import hoof
from .models.lbp_top import lbp_top
from .names import CLASSES
from .preprocessing.adm import adm_matrix, average_direction_magnitude
from .preprocessing.face import Face, crop_face, find_faces, locate_face
from .preprocessing.flow_map import flow_map, optical_strain
from .preprocessing.in_memory import prepare_frames
from .preprocessing.optical_flow import FlowMethod, flow_method
from .preprocessing.prepared_clip import PreparedClip
from .training.method_inputs import inputs_of_clip, load_inputs
from .training.trained import Networks, load_networks

__version__: str
