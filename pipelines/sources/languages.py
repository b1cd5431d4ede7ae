"""Languages: which language is a message of a user interface in? Real translations.

The messages are those of Django's translation files (BSD licence), as their
translators wrote them, placeholders such as `%(name)s` included.
"""

import functools
import hashlib
import importlib.util
import pathlib

import numpy as np

from pipelines.sources.source import source_from_columns

# By locale, and named in English; regional variants of one language (es_MX, pt_BR,
# zh_Hant, ...) would be classes that differ in a few words only, and are left out.
LANGUAGES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "zh_Hans": "Chinese",
}
MIN_BYTES = 20
TEST_FRACTION = 1 / 6


def load(split, rule):
    """Loads one split of Languages: texts of at least 20 bytes, in 25 languages.

    A message and all its translations are in one split. Which one depends on the
    message alone, so that another release of Django adds and drops messages but
    moves none between the splits.

    Args:
        split: "train", "validation" or "test".
        rule: `SplitRule`, of which only `seed` and `validation_fraction` count, since
            the test is fixed: a sixth of the messages.

    Returns:
        A `Source` of texts.

    Raises:
        ValueError: if the rule leaves no message to the split.
        ImportError: if Django or polib is not installed.
    """
    chosen = [
        (text, label)
        for message, text, label in _read_translations()
        if _split_of(message, rule) == split
    ]
    if not chosen:
        raise ValueError(
            f"`validation_fraction` leaves no message to the {split} split. "
            f"Received: validation_fraction={rule.validation_fraction!r}"
        )
    if split == "train":  # In random order, so that no part holds a single class.
        order = np.random.RandomState([rule.seed, 2]).permutation(len(chosen))
        chosen = [chosen[position] for position in order]
    texts, labels = zip(*chosen, strict=True)
    return source_from_columns(
        {"text": list(texts)},
        labels,
        classes=tuple(LANGUAGES.values()),
        name="builtin:languages",
    )


def _split_of(message, rule):
    if _draw(f"test {message}") < TEST_FRACTION:
        return "test"
    if _draw(f"validation {rule.seed} {message}") < rule.validation_fraction:
        return "validation"
    return "train"


def _draw(text):
    """A number in [0, 1) that looks random and follows from `text`."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


@functools.cache
def _read_translations():
    """Returns a list of (message, text, label), in the order of label and message."""
    import polib

    message_of = {}
    labels_of = {}
    for label, locale in enumerate(LANGUAGES):
        for file in _find_files(locale):
            for entry in polib.pofile(str(file)):
                if not (entry.msgid_plural or entry.obsolete or entry.fuzzy):
                    # English is what the messages are written in.
                    text = entry.msgid if locale == "en" else entry.msgstr
                    # Of messages with one translation between them, the first.
                    message_of.setdefault((label, text), entry.msgid)
                    labels_of.setdefault(text, set()).add(label)
    return sorted(
        (
            (message, text, label)
            for (label, text), message in message_of.items()
            # What is the same in two languages, say mere placeholders, tells neither.
            if len(text.encode()) >= MIN_BYTES and len(labels_of[text]) == 1
        ),
        key=lambda row: (row[2], row[0]),
    )


def _find_files(locale):
    """Sorted paths of the translation files of one locale."""
    missing = [
        name for name in ("django", "polib") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise ImportError(
            f"builtin:languages needs {' and '.join(missing)}; "
            "run: pip install django polib"
        )
    # Found without importing Django.
    package = importlib.util.find_spec("django")
    folder = pathlib.Path(package.submodule_search_locations[0])
    files = sorted(folder.glob(f"**/locale/{locale}/LC_MESSAGES/*.po"))
    if not files:
        raise ImportError(
            f"The installed django lacks the translations of {locale!r}; "
            "run: pip install --force-reinstall django"
        )
    return files
