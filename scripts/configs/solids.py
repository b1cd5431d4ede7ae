"""Which of ten solids is it? Generated point clouds, turned in any direction.

    python scripts/train.py --config=scripts/configs/solids.py --workdir=runs/solids

4,000 clouds to train and validate, 1,000 to test, of 1,024 points each.
"""

from configs import points


def get_config():
    config = points.get_config()
    config.epochs = 30
    config.data.source = "builtin:solids"
    config.data.recipe.num_points = 512
    config.data.recipe.align = True
    # Solids are smooth; the shortest wave, of band 8, is a quarter of a unit long.
    config.adapter.num_bands = 8
    config.adapter.max_resolution = 16
    return config
