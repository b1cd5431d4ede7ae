"""Perceiver on the pictures of AudioSet's videos; mAP 25.8 in the paper.

    python scripts/train.py --config=scripts/configs/audioset_video.py \
        --workdir=runs/audioset_video --config.data.source=folder:PATH

PATH holds MP4, AVI, MKV or WebM files, and `labels.csv` with their classes. The preset
is `perceiver_audioset_video`; section 4.2.
"""

import published
from configs import video


def get_config():
    config = video.get_config()
    published.set_audioset(config)
    # Open: how many latent blocks there are, here one after each of 2 cross-attends.
    published.set_model(config, "perceiver_audioset_video")
    recipe = config.data.recipe
    # 1.28 s.
    recipe.num_frames = 32
    recipe.frame_rate = 25.0
    recipe.image_size = (224, 224)
    recipe.channels = 3
    recipe.crop = "inception"
    recipe.num_eval_clips = 16
    # Open: the range of values.
    recipe.value_range = (-1.0, 1.0)
    augmentation = config.data.augmentation
    augmentation.shift_pixels = 0
    augmentation.flip = True
    # Open: how far colours change; these are of Inception, as its crops are.
    augmentation.brightness = 32 / 255
    augmentation.contrast = 0.5
    augmentation.saturation = 0.5
    augmentation.hue = 0.2
    config.adapter.patch_size = (2, 8, 8)
    # Open: the bands. These give both streams the 487 channels of Perceiver IO.
    config.adapter.num_bands = 16
    return config
