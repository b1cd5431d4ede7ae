"""A classifier of sounds by their raw waves, from any folder of class folders.

    python scripts/train.py --config=scripts/configs/audio_raw.py --workdir=runs/mine \
        --config.data.source=folder:PATH

PATH holds a folder for each class, or `train` and `test` folders of those, with WAV,
FLAC, MP3 or OGG files. Rate and length are found from the sounds where they are not
given.
"""

from ml_collections import config_dict

from configs import base


def get_config():
    config = base.get_config()
    config.modality = "audio"
    config.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.data.recipe = recipe = config_dict.ConfigDict()
    recipe.rate = config_dict.placeholder(int)
    recipe.num_samples = config_dict.placeholder(int)
    recipe.representation = "wave"
    # Of the mu-law, as in telephony (0: none): consonants are quiet, and tell words
    # apart.
    recipe.mu = 255
    # Over how many overlapping clips the predictions of a tested sound are averaged.
    # Validation during training always has one.
    recipe.num_eval_clips = 1
    config.data.augmentation = augmentation = config_dict.ConfigDict()
    augmentation.speed = 0.15
    augmentation.shift_seconds = 0.05
    augmentation.gain_db = 6.0
    augmentation.noise_db = 20.0
    # Alpha of the shares in which examples are mixed by MixUp, such as 0.2; 0: not at
    # all. The metrics of training are then of mixed examples.
    augmentation.mixup = 0.0
    config.adapter = adapter = config_dict.ConfigDict()
    adapter.segment_length = 128
    adapter.projection_dim = config_dict.placeholder(int)
    adapter.num_bands = 32
    # A segment tells much; several heads take several things from it.
    config.model.num_cross_heads = 8
    config.model.cross_qk_dim = 128
    config.model.dropout_rate = 0.1
    return config
