"""Perceiver on AudioSet, raw waves and pictures; mAP 43.5 in the paper.

    python scripts/train.py --config=scripts/configs/audioset_raw_video.py \
        --workdir=runs/audioset_raw_video --config.data.source=folder:PATH

PATH holds MP4, AVI, MKV or WebM files, and `labels.csv` with their classes. The preset
is `perceiver_audioset_raw_video`; section 4.2. The configs of the streams say what each
is.
"""

import published
from configs import audio_video, audioset_raw, audioset_video


def get_config():
    return get_joint_config(audioset_raw.get_config(), "perceiver_audioset_raw_video")


def get_joint_config(sound, preset):
    """The config of sound and pictures together.

    Args:
        sound: the config of the sound alone.
        preset: string, the preset of both.
    """
    config = audio_video.get_config()
    published.set_audioset(config)
    # Open: how many latent blocks there are, here one after each of 2 cross-attends.
    published.set_model(config, preset)
    audio_video.set_streams(config, sound, audioset_video.get_config())
    config.data.recipe.num_eval_clips = 16
    # The encoding of the modality has 4 channels for video, and as many as it takes
    # for sound; video is hidden at a rate of 0.3.
    config.adapter.min_padding = 4
    config.adapter.modality_dropout.video = 0.3
    return config
