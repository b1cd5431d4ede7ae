"""A classifier of texts, read as bytes, from any source of labelled ones.

    python scripts/train.py --config=scripts/configs/text.py --workdir=runs/mine \
        --config.data.source=folder:PATH

PATH holds a folder for each class, or `train` and `test` folders of those, of text
files in any encoding. How many bytes the model takes is found from the texts where it
is not given.
"""

from ml_collections import config_dict

from configs import base


def get_config():
    config = base.get_config()
    config.modality = "text"
    config.data.recipe.length = config_dict.placeholder(int)
    config.data.augmentation.crop_fraction = 1.0
    config.data.augmentation.mask_rate = 0.0
    config.adapter.embedding_dim = 64
    return config
