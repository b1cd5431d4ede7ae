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
    config.steps = 3000
    config.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.data.recipe.length = config_dict.placeholder(int)
    config.data.augmentation.crop_fraction = 0.5
    config.data.augmentation.mask_rate = 0.1
    # A byte is read among its neighbours, 5 together, so that one read knows syllables;
    # a latent with several heads looks for several of them.
    config.adapter.embedding_dim = 32
    config.adapter.window = 5
    config.model.num_cross_heads = 8
    config.model.cross_qk_dim = 64
    config.model.dropout_rate = 0.2
    return config
