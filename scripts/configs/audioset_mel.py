"""Perceiver on the sound of AudioSet, mel spectrograms; mAP 38.4 in the paper.

    python scripts/train.py --config=scripts/configs/audioset_mel.py \
        --workdir=runs/audioset_mel --config.data.source=folder:PATH

PATH holds WAV, FLAC, MP3 or OGG files, and `labels.csv` with their classes. The preset
is `perceiver_audioset_mel`; section 4.2.
"""

import published
from configs import audio_mel, audioset_raw


def get_config():
    config = audio_mel.get_config()
    published.set_audioset(config)
    # Open: how many latent blocks there are, here one after each of 2 cross-attends.
    published.set_model(config, "perceiver_audioset_mel")
    recipe = config.data.recipe
    recipe.rate = 48_000
    recipe.num_samples = 61_440
    recipe.num_eval_clips = 16
    # Open: how the 4,800 cells are made; here 75 frames, one every 17 ms, of 64 bins.
    recipe.num_mel_bins = 64
    recipe.frame_step = 820
    recipe.frame_length = 2048
    audioset_raw.set_augmentation(config)
    # SpecAugment. Open: how much it hides.
    config.data.augmentation.time_mask = 0.1
    config.data.augmentation.frequency_mask = 0.1
    # One sequence of cells, frame after frame.
    config.adapter.patch_size = None
    config.adapter.flatten = True
    # Open: the bands.
    config.adapter.num_bands = 64
    return config
