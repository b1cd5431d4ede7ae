"""A classifier of videos, from any folder of class folders of videos.

    python scripts/train.py --config=scripts/configs/video.py --workdir=runs/mine \
        --config.data.source=folder:PATH

PATH holds a folder for each class, or `train` and `test` folders of those. What is not
given is found from the videos: clips of at most 16 frames of at most 48 x 48 pixels, in
patches of 2 x 4 x 4 pixels 1,152 inputs, which two processor cores can learn from.
"""

from ml_collections import config_dict

from configs import base, image


def get_config():
    config = base.get_config()
    config.modality = "video"
    config.steps = 2000
    # Keeps all frames, resized, in memory. Without it only the frames of a clip are
    # ever decoded, again in every epoch.
    config.data.cache = False
    config.data.recipe = recipe = config_dict.ConfigDict()
    recipe.num_frames = config_dict.placeholder(int)
    recipe.frame_stride = config_dict.placeholder(int)
    recipe.frame_rate = config_dict.placeholder(float)
    recipe.image_size = config_dict.placeholder(tuple)
    recipe.channels = config_dict.placeholder(int)
    # "resize", "central" or "inception": random boxes, as for ImageNet.
    recipe.crop = "resize"
    # Over how many overlapping clips the predictions of a tested video are averaged;
    # 16 in the paper. Validation during training always has one.
    recipe.num_eval_clips = 1
    recipe.value_range = (-1.0, 1.0)
    config.data.augmentation = image.get_augmentation()
    # Whether what a shift moves out on one side enters on the other.
    config.data.augmentation.wrap = False
    config.adapter.num_bands = 8
    # (frames, rows, columns) of an input; None: each pixel is one.
    config.adapter.patch_size = config_dict.placeholder(tuple)
    config.adapter.patch_size = (2, 4, 4)
    # One for each of time, height and width; None: the shape of the grid of inputs.
    config.adapter.max_resolution = config_dict.placeholder(tuple)
    return config
