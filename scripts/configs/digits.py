"""Handwritten digits, MNIST-5k, from raw pixels: the demo.

    python scripts/train.py --config=scripts/configs/digits.py --workdir=runs/digits

4,000 images to train and validate, 1,000 to test, 10 classes.
"""

from configs import image


def get_config():
    config = image.get_config()
    config.epochs = 45
    config.data.source = "builtin:mnist5k"
    config.data.validation_fraction = 0.05
    # The highest of 6 bands, 14, is the Nyquist rate of 28 pixels.
    config.adapter.num_bands = 6
    return config
