"""Intervals against scipy, literal definitions, and simulations with known truth."""

import numpy as np
import pytest
from scipy import stats

from realness.bootstrap import bootstrap_ci, paired_bootstrap
from realness.config import RealnessError
from realness.fold_intervals import FoldPredictions, fold_ci
from realness.regression.uncertainty import Calibration, Intervals, conformal_bounds, share, within_bounds

# --- Shares


@pytest.mark.parametrize('level', [0.5, 0.9, 0.95, 0.99])
def test_interval_of_a_share_equals_scipy(level):
    "Wilson's interval of `binomtest`, for every number of hits among 1 to 30 and some of 500: to 1e-12."
    cases = [(k, n) for n in range(1, 31) for k in range(n + 1)] + [(k, 500) for k in (0, 1, 60, 499, 500)]
    for k, n in cases:
        ours = share(np.arange(n) < k, level)
        theirs = stats.binomtest(k, n).proportion_ci(level, method='wilson')
        np.testing.assert_allclose([ours.lo, ours.hi], [theirs.low, theirs.high], atol=1e-12)
        assert (ours.value, ours.n) == (k / n, n)


def test_coverage_counts_the_bounds():
    "A MOS on a bound is covered; the interval of the share is Wilson's."
    mos = np.array([0.0, 1.0, 2.0, 3.0])
    coverage = share(within_bounds(mos, [0, 1.1, 1, 0], [1, 2, 2, 2.9]))
    assert (coverage.value, coverage.n) == (0.5, 4)
    np.testing.assert_allclose(coverage.lo, stats.binomtest(2, 4).proportion_ci(0.95, method='wilson').low)


# --- Prediction intervals


def smallest_rank(n, level):
    """The smallest k for which the k-th smallest and k-th largest of n errors cover a new one often enough.

    A new error falls into each of the n + 1 gaps between the sorted errors equally often, and
    2 k - n - 1 of the gaps lie between the bounds.
    """
    for k in range(1, n + 1):
        if (2 * k - n - 1) / (n + 1) >= level - 1e-12:
            return k
    return None


@pytest.mark.parametrize('level', [0.5, 0.8, 0.9, 0.95])
def test_bounds_equal_their_definition(level):
    "For 1 to 200 errors: the literal order statistics, or an error where no rank covers often enough."
    rng = np.random.default_rng(0)
    for n in range(1, 201):
        errors = rng.normal(size=n)
        rank = smallest_rank(n, level)
        if rank is None:
            with pytest.raises(RealnessError, match='too few'):
                conformal_bounds(errors, level)
            continue
        ordered = sorted(errors)
        assert conformal_bounds(errors, level) == (ordered[n - rank], ordered[rank - 1])


def skewed(rng, size):
    return rng.exponential(size=size) - 1


def normal(rng, size):
    return rng.normal(size=size)


def two_humps(rng, size):
    return rng.choice([-2, 2], size=size) + 0.1 * rng.normal(size=size)


@pytest.mark.parametrize('errors', [normal, skewed, two_humps], ids=lambda errors: errors.__name__)
@pytest.mark.parametrize(('n', 'level'), [(19, 0.9), (39, 0.9), (100, 0.9), (60, 0.8)])
def test_bounds_cover_new_errors(errors, n, level):
    "Simulation: 20,000 sets of n errors and a new one. The coverage is (2 k - n - 1) / (n + 1) within 4 sd."
    rng = np.random.default_rng([n, int(100 * level)])
    repeats = 20_000
    known, new = errors(rng, (repeats, n)), errors(rng, repeats)
    bounds = np.array([conformal_bounds(row, level) for row in known])
    expected = (2 * smallest_rank(n, level) - n - 1) / (n + 1)
    assert expected >= level
    measured = ((bounds[:, 0] <= new) & (new <= bounds[:, 1])).mean()
    assert abs(measured - expected) < 4 * (expected * (1 - expected) / repeats) ** 0.5


def test_intervals_contain_the_prediction():
    "Where all errors have one sign, the bounds are moved to 0, which only widens the interval."
    errors = np.arange(1.0, 41.0)
    intervals = Intervals.fit(errors, 0.9)
    assert (intervals.lo, intervals.hi) == (0, conformal_bounds(errors, 0.9)[1])


@pytest.mark.slow
def test_calibrated_predictions_are_covered():
    """Simulation: predictions on a wrong scale, calibrated and given intervals on 150 held-out images, and
    300 new ones, 20 times. Coverage 0.9 within 0.02; calibration halves the squared error of new images."""
    rng = np.random.default_rng(0)
    hits, raw, mapped = [], [], []
    for seed in range(20):
        truth = rng.normal(size=450)
        predictions = 0.4 * truth + 0.3 + 0.1 * rng.normal(size=450)
        calibration, calibrated = Calibration.fit(truth[:150], predictions[:150], seed=seed)
        lower, upper = Intervals.fit(truth[:150] - calibrated, 0.9).of(calibration(predictions[150:]))
        hits.append((lower <= truth[150:]) & (truth[150:] <= upper))
        raw.append((predictions[150:] - truth[150:]) ** 2)
        mapped.append((calibration(predictions[150:]) - truth[150:]) ** 2)
    assert abs(np.mean(hits) - 0.9) < 0.02
    assert np.mean(mapped) < 0.5 * np.mean(raw)


# --- Metrics on a held-out test set


@pytest.mark.slow
@pytest.mark.parametrize('n', [60, 200])
def test_bootstrap_covers_the_correlation_of_the_population(n):
    """Simulation: a fixed predictor, and 400 test sets from a bivariate normal with correlation 0.7, so that
    SROCC is 6 / pi asin(0.35). The 95 % interval holds it in 92 to 97.5 % of the sets."""
    truth = 6 / np.pi * np.arcsin(0.35)
    rng = np.random.default_rng(n)
    hits = []
    for seed in range(400):
        y, noise = rng.normal(size=(2, n))
        interval = bootstrap_ci(y, 0.7 * y + 0.51**0.5 * noise, n_boot=400, seed=seed)
        hits.append(interval.lo <= truth <= interval.hi)
    assert 0.92 <= np.mean(hits) <= 0.975


@pytest.mark.slow
def test_paired_bootstrap_of_equal_predictors():
    "Simulation: two fixed predictors of the same quality, 400 test sets of 100: p < 0.05 in 2.5 to 7.5 %."
    rng = np.random.default_rng(1)
    rejected = []
    for seed in range(400):
        y, first, second = rng.normal(size=(3, 100))
        comparison = paired_bootstrap(y, y + first, y + second, n_boot=400, seed=seed)
        rejected.append(comparison.p_value < 0.05)
    assert 0.025 <= np.mean(rejected) <= 0.075


# --- Groups


@pytest.mark.parametrize('count', [5, 8, 20])
def test_interval_of_a_mean_over_few_groups_equals_the_t_interval(count):
    "Student's interval of the means of equally large groups, from scipy: to 8 % of its width."
    rng = np.random.default_rng(count)
    groups = np.repeat(np.arange(count), 6)
    values = rng.normal(size=count)[groups] + rng.normal(size=6 * count)
    held_out = FoldPredictions(values, folds=1, groups=groups)
    ours = fold_ci(np.zeros(len(values)), held_out, metric=lambda y, p: p.mean(), n_boot=4000)
    means = values.reshape(count, 6).mean(1)
    theirs = stats.t.interval(0.95, count - 1, means.mean(), stats.sem(means))
    np.testing.assert_allclose(ours[1:], theirs, atol=0.08 * (theirs[1] - theirs[0]))
