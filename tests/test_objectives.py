"""Losses and scores of the scripts, against other implementations."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import objectives


class TestAveragePrecision:
    @pytest.mark.parametrize("levels", [None, 4])
    def test_agrees_with_scikit_learn(self, levels, rng):
        labels = rng.integers(0, 2, (200, 6)) * rng.integers(0, 2, (200, 1))
        scores = rng.normal(size=(200, 6)) + labels
        if levels:  # Many items of one score.
            scores = np.round(scores * levels / 4)
        expected = average_precision_score(labels, scores, average=None)
        found = objectives.average_precisions(labels, scores)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        value, known = objectives.mean_average_precision(labels, scores)
        assert known == 6
        np.testing.assert_allclose(value, average_precision_score(labels, scores))

    def test_classes_without_items_are_left_out_and_said(self):
        labels = np.array([[1, 0, 1], [0, 0, 1]])
        scores = np.array([[0.1, 0.9, 0.3], [0.2, 0.8, 0.2]])
        found = objectives.average_precisions(labels, scores)
        np.testing.assert_array_equal(found, [0.5, np.nan, 1.0])
        value, known = objectives.mean_average_precision(labels, scores)
        assert (value, known) == (0.75, 2)
        assert objectives.map_sentence(value, known, 3) == (
            "mAP: 0.7500 over 2 classes (without 1 that have no items)"
        )

    def test_no_items_at_all(self):
        value, known = objectives.mean_average_precision(
            np.zeros((2, 3)), np.ones(6).reshape(2, 3)
        )
        assert (value, known) == (None, 0)
        assert "undefined" in objectives.map_sentence(value, known, 3)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_losses(label_smoothing, rng):
    logits = rng.normal(size=(7, 4)).astype("float32")
    labels = np.eye(4, dtype="float32")[rng.integers(0, 4, 7)]
    smooth = (1 - label_smoothing) * labels + label_smoothing / 4
    expected = -np.mean(np.sum(smooth * np.log(softmax(logits)), axis=-1))
    found = objectives.loss(False, label_smoothing)(labels, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)

    labels = rng.integers(0, 2, (7, 4)).astype("float32")
    smooth = (1 - label_smoothing) * labels + label_smoothing / 2
    expected = np.mean(np.logaddexp(0, logits) - smooth * logits)
    found = objectives.loss(True, label_smoothing)(labels, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
