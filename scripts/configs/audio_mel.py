"""A classifier of sounds by their mel spectrograms, from any folder of class folders.

    python scripts/train.py --config=scripts/configs/audio_mel.py --workdir=runs/mine \
        --config.data.source=folder:PATH

PATH holds a folder for each class, or `train` and `test` folders of those, with WAV,
FLAC, MP3 or OGG files. Rate, length and the rest are found from the sounds where they
are not given.
"""

from ml_collections import config_dict

from configs import audio_raw


def get_config():
    config = audio_raw.get_config()
    recipe = config.data.recipe
    recipe.representation = "mel"
    recipe.mu = 0
    recipe.num_mel_bins = config_dict.placeholder(int)
    recipe.frame_length = config_dict.placeholder(int)
    recipe.frame_step = config_dict.placeholder(int)
    config.data.augmentation.time_mask = 0.1
    config.data.augmentation.frequency_mask = 0.1
    config.adapter = adapter = config_dict.ConfigDict()
    # Frames and bins of a patch; None for all bins, so that an input is a spectrum, and
    # (1, 1) for each cell by itself.
    adapter.patch_size = (2, None)
    # Whether the cells, without patches, are one sequence, with one number for both
    # time and frequency as their position.
    adapter.flatten = False
    adapter.projection_dim = config_dict.placeholder(int)
    adapter.num_bands = 12
    config.model.cross_qk_dim = 64
    return config
