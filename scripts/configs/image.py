"""A classifier of pictures, from any source of labelled pictures.

    python scripts/train.py --config=scripts/configs/image.py --workdir=runs/mine \
        --config.data.source=folder:PATH

PATH holds a folder for each class, or `train` and `test` folders of those. Sizes and
channels are found from the pictures where they are not given.
"""

from ml_collections import config_dict


def get_config():
    config = config_dict.ConfigDict()
    config.seed = 0
    config.epochs = 50
    config.batch_size = 64
    config.strategy = "none"
    config.jit_compile = True

    # Data section
    config.data = data = config_dict.ConfigDict()
    data.source = "folder:PATH"
    data.validation_fraction = 0.1
    data.test_fraction = 0.2
    # The size and channels of what the model sees; None: found from the pictures.
    data.image_size = config_dict.placeholder(tuple)
    data.channels = config_dict.placeholder(int)
    data.crop = "resize"
    data.shift_pixels = 2
    data.flip = False
    data.value_range = (-1.0, 1.0)
    data.cache = True

    # Model section
    config.model = model = config_dict.ConfigDict()
    model.num_latents = 32
    model.latent_dim = 64
    model.num_cross_attends = 3
    model.num_latent_blocks = 3
    model.num_layers_per_block = 2
    model.num_cross_heads = 1
    model.num_self_heads = 4
    model.cross_attend_sharing = "all_but_first"
    model.latent_block_sharing = "all"
    model.dropout_rate = 0.0
    model.num_bands = 12
    model.dtype = "float32"

    # Optimizer section
    config.optimizer = optimizer = config_dict.ConfigDict()
    optimizer.learning_rate = 2e-3
    optimizer.weight_decay = 0.05
    optimizer.warmup_epochs = 2
    optimizer.clip_norm = 1.0
    return config
