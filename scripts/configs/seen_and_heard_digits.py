"""Digits seen and heard, made: noisy pictures and noisy synthetic voices of one label.

    python scripts/train.py --config=scripts/configs/seen_and_heard_digits.py \
        --workdir=runs/seen_and_heard_digits

Three clips of each of 3,600 digits to train, one of 400 to validate and 1,000 to test,
with digits and voices that are not in training. Neither stream is enough alone.
"""

from configs import audio_video


def get_config():
    config = audio_video.get_config()
    config.epochs = 7
    config.data.source = "builtin:seen_and_heard_digits"
    config.data.cache = True
    return config


def get_stream_config(modality):
    """The same without one of the streams.

    Args:
        modality: "audio" or "video", the stream that is left.
    """
    config = get_config()
    config.modality = modality
    config.data.recipe = config.data.recipe[modality]
    config.data.augmentation = config.data.augmentation[modality]
    config.adapter = config.adapter[modality]
    return config
