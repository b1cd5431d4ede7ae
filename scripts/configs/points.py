"""A classifier of point clouds and meshes, from any source of labelled ones.

    python scripts/train.py --config=scripts/configs/points.py --workdir=runs/mine \
        --config.data.source=folder:PATH

PATH holds a folder for each class, or `train` and `test` folders of those, of NPY, NPZ,
PLY, OFF, OBJ or XYZ files. How many points the model takes, whether they have features,
and whether they lie in any direction, is found from the files where it is not given.
"""

from ml_collections import config_dict

from configs import base


def get_config():
    config = base.get_config()
    config.modality = "points"
    config.steps = 3000
    config.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    recipe = config.data.recipe
    recipe.num_points = config_dict.placeholder(int)
    recipe.num_features = config_dict.placeholder(int)
    recipe.normals = config_dict.placeholder(bool)
    # Turns clouds that may lie in any direction onto their principal axes.
    recipe.align = config_dict.placeholder(bool)
    recipe.use_mask = config_dict.placeholder(bool)
    config.data.augmentation.rotation = "none"
    # As the paper trains on ModelNet40.
    config.data.augmentation.scale = 0.01
    config.data.augmentation.jitter_std = 0.0
    config.data.augmentation.dropout = 0.0
    config.adapter.num_bands = 16
    config.adapter.max_resolution = 32
    # Each head of a latent looks at another part of space.
    config.model.num_cross_heads = 8
    config.model.cross_qk_dim = 64
    return config
