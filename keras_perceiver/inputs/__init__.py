"""Adapters: from a raw tensor of one modality to content, positions and mask."""

from keras_perceiver.inputs.array import ArrayInput as ArrayInput
from keras_perceiver.inputs.base import InputAdapter as InputAdapter
from keras_perceiver.inputs.grid import GridInput as GridInput
from keras_perceiver.inputs.image import ImageInput as ImageInput
