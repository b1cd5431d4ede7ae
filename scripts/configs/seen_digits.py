"""Digits only seen: the noisy pictures of the digits seen and heard, alone.

    python scripts/train.py --config=scripts/configs/seen_digits.py \
        --workdir=runs/seen_digits

All else is as in seen_and_heard_digits.py, to tell what the other stream adds.
"""

from configs import seen_and_heard_digits


def get_config():
    return seen_and_heard_digits.get_stream_config("video")
