"""Digits only heard: the noisy voices of the digits seen and heard, alone.

    python scripts/train.py --config=scripts/configs/heard_digits.py \
        --workdir=runs/heard_digits

All else is as in seen_and_heard_digits.py, to tell what the other stream adds.
"""

from configs import seen_and_heard_digits


def get_config():
    return seen_and_heard_digits.get_stream_config("audio")
