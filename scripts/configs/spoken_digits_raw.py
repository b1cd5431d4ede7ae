"""Spoken digits, synthetic, from raw waves.

    python scripts/train.py --config=scripts/configs/spoken_digits_raw.py \
        --workdir=runs/spoken_digits_raw

2,490 sounds to train and validate, 630 to test, of speakers never heard; 10 words.
"""

from configs import audio_raw


def get_config():
    config = audio_raw.get_config()
    config.epochs = 60
    config.data.source = "builtin:spoken_digits"
    return config
