"""Digits seen and heard, made: noisy pictures and noisy synthetic voices of one label.

    python scripts/train.py --config=scripts/configs/seen_and_heard_digits.py \
        --workdir=runs/seen_and_heard_digits

Three clips of each of 3,600 digits to train, one of 400 to validate and 1,000 to test,
with digits and voices that are not in training. Neither stream is enough alone.
"""

from configs import audio_video


def get_config():
    config = audio_video.get_config()
    config.epochs = 12
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.data.source = "builtin:seen_and_heard_digits"
    config.data.cache = True
    recipe, adapter = config.data.recipe, config.adapter
    # The whole sound, and one frame: all have lost the same pixels. The test averages
    # over the eight of a video.
    recipe.audio.num_samples = 8000
    recipe.video.num_frames = 1
    recipe.num_eval_clips = 8
    # As for images.
    recipe.video.value_range = (-4.0, 4.0)
    adapter.video.patch_size = None
    adapter.video.num_bands = 6
    config.model.num_cross_heads = 2
    config.model.dropout_rate = 0.0
    return config


def get_stream_config(modality):
    """The same without one of the streams.

    Args:
        modality: "audio" or "video", the stream that is left.
    """
    config = get_config()
    config.modality = modality
    config.data.recipe = config.data.recipe[modality]
    # There is one place only for a clip of the whole sound.
    config.data.recipe.num_eval_clips = {"audio": 1, "video": 8}[modality]
    config.data.augmentation = config.data.augmentation[modality]
    config.adapter = config.adapter[modality]
    return config
