"""Perceiver on AudioSet, mel spectrograms and pictures; mAP 43.2 in the paper.

    python scripts/train.py --config=scripts/configs/audioset_mel_video.py \
        --workdir=runs/audioset_mel_video --config.data.source=folder:PATH

PATH holds MP4, AVI, MKV or WebM files, and `labels.csv` with their classes. The preset
is `perceiver_audioset_mel_video`; section 4.2. The configs of the streams say what each
is.

Tuned, the paper has 44.2, without SpecAugment and with spectrograms hidden at a rate of
0.1: `--config.data.augmentation.audio.time_mask=0.0
--config.data.augmentation.audio.frequency_mask=0.0
--config.adapter.modality_dropout.audio=0.1`.
"""

from configs import audioset_mel, audioset_raw_video


def get_config():
    return audioset_raw_video.get_joint_config(
        audioset_mel.get_config(), "perceiver_audioset_mel_video"
    )
