"""Adapters: from raw tensors to content, positions and mask.

| modality | adapters |
|---|---|
| images | `ImageInput`, `ConvImageInput`, `PermutedImageInput` |
| video | `VideoInput` |
| sound | `AudioInput`, `SpectrogramInput` |
| points | `PointsInput` |
| text | `TextInput` |
| tables and anything else | `ArrayInput`, `GridInput` |
| several at once | `MultimodalInput` |
"""

from keras_perceiver.inputs.array import ArrayInput as ArrayInput
from keras_perceiver.inputs.audio import AudioInput as AudioInput
from keras_perceiver.inputs.audio import SpectrogramInput as SpectrogramInput
from keras_perceiver.inputs.base import InputAdapter as InputAdapter
from keras_perceiver.inputs.base import TensorAdapter as TensorAdapter
from keras_perceiver.inputs.grid import GridInput as GridInput
from keras_perceiver.inputs.image import ConvImageInput as ConvImageInput
from keras_perceiver.inputs.image import ImageInput as ImageInput
from keras_perceiver.inputs.image import PermutedImageInput as PermutedImageInput
from keras_perceiver.inputs.multimodal import MultimodalInput as MultimodalInput
from keras_perceiver.inputs.points import PointsInput as PointsInput
from keras_perceiver.inputs.text import TextInput as TextInput
from keras_perceiver.inputs.video import VideoInput as VideoInput
