"""The public layers, in the order of the data flow."""

from keras_perceiver.attention import Attention as Attention
from keras_perceiver.blocks import MLP as MLP
from keras_perceiver.cross_attention import CrossAttention as CrossAttention
from keras_perceiver.decoder import AverageDecoder as AverageDecoder
from keras_perceiver.decoder import QueryDecoder as QueryDecoder
from keras_perceiver.encoder import LatentArray as LatentArray
from keras_perceiver.encoder import LatentBlock as LatentBlock
from keras_perceiver.modalities import MultimodalPositions as MultimodalPositions
from keras_perceiver.positions import FourierPositions as FourierPositions
from keras_perceiver.positions import LearnedPositions as LearnedPositions
from keras_perceiver.self_attention import SelfAttention as SelfAttention
