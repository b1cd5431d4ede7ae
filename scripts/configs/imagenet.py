"""Perceiver on ImageNet: 224 x 224 raw pixels, 8 cross-attends; 78.0 % in the paper.

    python scripts/train.py --config=scripts/configs/imagenet.py \
        --workdir=runs/imagenet --config.data.source=tfds:imagenet2012

or `--config.data.source=folder:PATH`, where PATH has `train` and `val` with a folder
for each class. The preset is `perceiver_imagenet`; section 4.1, appendices B and C.
`--config.adapter.permutation_seed=0` permutes the pixels: 78.0 %, too.
"""

import published
from configs import image


def get_config():
    config = image.get_config()
    published.set_training(config)
    published.set_model(config, "perceiver_imagenet")
    # Perceiver IO's, 10,000 of the 1,281,167 images of training. The test is what is
    # called the validation of ImageNet, since its test has no labels.
    config.data.validation_fraction = 10_000 / 1_281_167
    recipe = config.data.recipe
    recipe.image_size = (224, 224)
    recipe.channels = 3
    recipe.crop = "inception"
    # Open: the range of values. Perceiver IO subtracts the mean of ImageNet's pixels
    # and divides by their deviation, which leaves about this range.
    recipe.value_range = (-2.0, 2.45)
    augmentation = config.data.augmentation
    augmentation.shift_pixels = 0
    augmentation.rand_augment_layers = 4
    # Perceiver IO's appendix A.1 says that the first paper's was of this magnitude.
    augmentation.rand_augment_magnitude = 5.0
    # Open: mirroring and the smoothing of labels; these are Perceiver IO's.
    augmentation.flip = True
    config.loss.label_smoothing = 0.1
    # Perceiver IO mixes examples, too (mixup 0.2, cutmix 1.0); this paper does not.
    config.adapter.num_bands = 64
    return config
