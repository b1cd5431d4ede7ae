"""Perceiver on ImageNet with learned positions; 70.9 % in the paper.

    python scripts/train.py --config=scripts/configs/imagenet_learned.py \
        --workdir=runs/imagenet_learned --config.data.source=tfds:imagenet2012

All else is as in imagenet.py, but for one cross-attend in place of 8, with which
training was unstable. The preset is `perceiver_imagenet_learned`; section 4.1.
"""

import published
from configs import imagenet


def get_config():
    config = imagenet.get_config()
    # Open: how many latent blocks follow the one cross-attend, here 8 as before.
    published.set_model(config, "perceiver_imagenet_learned")
    config.adapter.position_dim = 128
    config.adapter.position_stddev = 1.0
    return config
