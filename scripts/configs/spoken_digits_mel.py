"""Spoken digits, synthetic, from mel spectrograms.

    python scripts/train.py --config=scripts/configs/spoken_digits_mel.py \
        --workdir=runs/spoken_digits_mel

2,490 sounds to train and validate, 630 to test, of speakers never heard; 10 words.
"""

from configs import audio_mel


def get_config():
    config = audio_mel.get_config()
    config.epochs = 60
    config.data.source = "builtin:spoken_digits"
    return config
