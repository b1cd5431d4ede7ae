"""A classifier of pictures, from any source of labelled pictures.

    python scripts/train.py --config=scripts/configs/image.py --workdir=runs/mine \
        --config.data.source=folder:PATH

PATH holds a folder for each class, or `train` and `test` folders of those. Sizes and
channels are found from the pictures where they are not given.
"""

from ml_collections import config_dict

from configs import base


def get_config():
    config = base.get_config()
    config.modality = "image"
    config.steps = 4000
    config.data.recipe.image_size = config_dict.placeholder(tuple)
    config.data.recipe.channels = config_dict.placeholder(int)
    # "resize", "central" or "inception": random boxes, as for ImageNet.
    config.data.recipe.crop = "resize"
    # Larger than a sine, so that the one to three channels of a pixel count beside the
    # many of its position.
    config.data.recipe.value_range = (-4.0, 4.0)
    config.data.augmentation = augmentation = get_augmentation()
    # How many operations of RandAugment; on ImageNet 4 of magnitude 5.
    augmentation.rand_augment_layers = 0
    augmentation.rand_augment_magnitude = 5.0
    config.adapter.num_bands = 12
    # Channels of learned positions, in place of Fourier features.
    config.adapter.position_dim = config_dict.placeholder(int)
    # The standard deviation that these begin with; None: 0.02.
    config.adapter.position_stddev = config_dict.placeholder(float)
    # Rows and columns of a patch, and the width that a linear layer takes an input to;
    # or the channels of a 7 x 7 convolution before all else. None: pixels as they are.
    config.adapter.patch_size = config_dict.placeholder(tuple)
    config.adapter.projection_dim = config_dict.placeholder(int)
    config.adapter.conv_features = config_dict.placeholder(int)
    # Seed of one random order for the pixels of all images. Fourier positions move with
    # their pixels; learned ones stay.
    config.adapter.permutation_seed = config_dict.placeholder(int)
    return config


def get_augmentation():
    """What is done at random to pictures, and alike to all frames of a video."""
    augmentation = config_dict.ConfigDict()
    augmentation.shift_pixels = 2
    augmentation.flip = False
    augmentation.brightness = 0.0
    augmentation.contrast = 0.0
    augmentation.saturation = 0.0
    augmentation.hue = 0.0
    # Alpha of the shares in which examples are mixed (0: not at all): by MixUp as 0.2,
    # by CutMix as 1; by both, half of a batch each. The metrics of training are then of
    # mixed examples.
    augmentation.mixup = 0.0
    augmentation.cutmix = 0.0
    return augmentation
