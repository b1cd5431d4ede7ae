"""Perceiver on the sound of AudioSet, raw waves; mAP 38.3 in the paper.

    python scripts/train.py --config=scripts/configs/audioset_raw.py \
        --workdir=runs/audioset_raw --config.data.source=folder:PATH

PATH holds WAV, FLAC, MP3 or OGG files, and `labels.csv` with their classes. The preset
is `perceiver_audioset_raw`; section 4.2.
"""

import published
from configs import audio_raw


def get_config():
    config = audio_raw.get_config()
    published.set_audioset(config)
    # Open: how many latent blocks there are, here one after each of 2 cross-attends.
    published.set_model(config, "perceiver_audioset_raw")
    recipe = config.data.recipe
    recipe.rate = 48_000
    recipe.num_samples = 61_440
    recipe.num_eval_clips = 16
    recipe.mu = 0
    set_augmentation(config)
    config.adapter.segment_length = 128
    # Open: the bands.
    config.adapter.num_bands = 64
    return config


def set_augmentation(config):
    """Gives a config of sounds that of the paper: a clip from anywhere, no more."""
    augmentation = config.data.augmentation
    augmentation.speed = 0.0
    augmentation.shift_seconds = 0.0
    augmentation.gain_db = 0.0
    augmentation.noise_db = None
