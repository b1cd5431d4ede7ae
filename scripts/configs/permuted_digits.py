"""Handwritten digits whose pixels come in a fixed random order, with their positions.

    python scripts/train.py --config=scripts/configs/permuted_digits.py \
        --workdir=runs/permuted_digits

All else is as in digits.py. A model that has nothing built in for images does not mind
the order.
"""

from configs import digits


def get_config():
    config = digits.get_config()
    config.adapter.permutation_seed = 0
    return config
