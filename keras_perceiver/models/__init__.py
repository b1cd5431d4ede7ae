"""Models: the backbone, and tasks on top of it."""

from keras_perceiver.models.backbone import PerceiverBackbone as PerceiverBackbone
from keras_perceiver.models.classifier import (
    PerceiverClassifier as PerceiverClassifier,
)
