"""The Perceiver for Keras: one model that reads any kind of input."""

from keras_perceiver import inputs as inputs
from keras_perceiver import layers as layers
from keras_perceiver import optimizers as optimizers
from keras_perceiver.attention import AttentionRecord as AttentionRecord
from keras_perceiver.attention import record_attention as record_attention
from keras_perceiver.modalities import MultimodalPositions as MultimodalPositions
from keras_perceiver.models import PerceiverBackbone as PerceiverBackbone
from keras_perceiver.models import PerceiverClassifier as PerceiverClassifier
from keras_perceiver.positions import FourierPositions as FourierPositions
from keras_perceiver.positions import LearnedPositions as LearnedPositions
from keras_perceiver.resizing import resize_inputs as resize_inputs
from keras_perceiver.version import __version__ as __version__
from keras_perceiver.visualize import attention_maps as attention_maps
