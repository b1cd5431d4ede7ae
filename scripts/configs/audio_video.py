"""A classifier of videos with sound, from any folder of class folders of videos.

    python scripts/train.py --config=scripts/configs/audio_video.py \
        --workdir=runs/mine --config.data.source=folder:PATH

PATH holds a folder for each class, or `train` and `test` folders of those. What is not
given is found from the videos; the sound is that of the clip.
"""

from ml_collections import config_dict

from configs import audio_mel, base, video


def get_config():
    config = base.get_config()
    config.modality = "audio_video"
    config.steps = 2000
    config.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.data.cache = False
    set_streams(config, audio_mel.get_config(), video.get_config())
    # Over how many overlapping clips the predictions of a tested video are averaged;
    # 16 in the paper. Validation during training always has one.
    config.data.recipe.num_eval_clips = 1
    # Alpha of the shares in which clips are mixed by MixUp, such as 0.2; 0: not at
    # all. The metrics of training are then of mixed clips.
    config.data.augmentation.mixup = 0.0
    # Frames, rows and columns of a patch.
    config.adapter.video.patch_size = (2, 4, 4)
    # Channels that tell the modalities apart, and the rate at which training hides
    # the one or the other.
    config.adapter.min_padding = 4
    config.adapter.modality_dropout = config_dict.ConfigDict(
        {"audio": 0.0, "video": 0.0}
    )
    config.model.num_cross_heads = 8
    config.model.cross_qk_dim = 64
    config.model.dropout_rate = 0.1
    return config


def set_streams(config, audio, video):
    """Gives a config what the configs of its streams say of each.

    Args:
        config: `ConfigDict` of videos with sound.
        audio, video: those of sounds and of videos.
    """
    for name, own in (("audio", audio), ("video", video)):
        config.data.recipe[name] = own.data.recipe
        config.data.augmentation[name] = own.data.augmentation
        config.adapter[name] = own.adapter
        del config.data.recipe[name].num_eval_clips
    # Sound and pictures are mixed together.
    for name, key in (("audio", "mixup"), ("video", "mixup"), ("video", "cutmix")):
        del config.data.augmentation[name][key]
