"""Which of ten solids is it? Generated point clouds, turned in any direction.

    python scripts/train.py --config=scripts/configs/solids.py --workdir=runs/solids

4,000 clouds to train and validate, 1,000 to test, of 1,024 points each.
"""

from configs import points


def get_config():
    config = points.get_config()
    config.epochs = 40
    config.data.source = "builtin:solids"
    config.data.recipe.num_points = 512
    config.data.augmentation.rotation = "any"
    return config
