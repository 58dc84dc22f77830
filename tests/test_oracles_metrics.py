"""Score metrics against scipy, torchmetrics and the published formula of the fitted correlation.

Every test names its oracle and its tolerance. Truth and predictions are made: continuous, with ties, with few
levels, with a large offset, and with as few as three images.
"""

import warnings
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

from realness.bootstrap import bootstrap_ci, spearman_ci
from realness.logistic import fit_logistic4, fit_predictions, logistic4
from realness.metric_tables import CorrelationMetrics, cv_summary, regression_metrics
from realness.metrics import krcc, mse, plcc, rmse, srocc

CASES = 40  # random cases of each kind and size
SIZES = (3, 4, 5, 8, 30, 200)


def continuous(rng, n):
    return rng.normal(size=n), rng.normal(size=n)


def related(rng, n):
    y = rng.normal(size=n)
    return y, 0.8 * y + 0.6 * rng.normal(size=n)


def five_levels(rng, n):
    return rng.integers(1, 6, n).astype(float), rng.integers(1, 6, n).astype(float)


def two_levels(rng, n):
    return rng.integers(0, 2, n).astype(float), rng.normal(size=n)


def tied_predictions(rng, n):
    y, p = related(rng, n)
    return y, p.round(0)


def offset(rng, n):
    y, p = related(rng, n)
    return 1e4 + y, -1e4 + p


def tiny_units(rng, n):
    y, p = related(rng, n)
    return 1e-6 * y, 1e6 * p


def heavy_tails(rng, n):
    return rng.standard_cauchy(n), rng.standard_cauchy(n)


KINDS = (
    continuous,
    related,
    five_levels,
    two_levels,
    tied_predictions,
    offset,
    tiny_units,
    heavy_tails,
)


def draw(kind):
    "Yield all cases of one kind: truth and predictions."
    rng = np.random.default_rng([7, KINDS.index(kind)])
    for n in SIZES:
        for _ in range(CASES):
            yield kind(rng, n)


def undefined_as_nan(function, *arrays):
    "The value of a function of scipy; scipy warns where an array is constant, and returns NaN."
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return float(function(*arrays)[0])


# --- Correlations and errors


@pytest.mark.parametrize(
    ('metric', 'oracle'),
    [(srocc, stats.spearmanr), (krcc, stats.kendalltau), (plcc, stats.pearsonr)],
    ids=['srocc', 'krcc', 'plcc'],
)
@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_correlations_equal_scipy(metric, oracle, kind):
    "240 cases each to 1e-10; NaN exactly where scipy has NaN, that is, for a constant array."
    for y, p in draw(kind):
        np.testing.assert_allclose(metric(y, p), undefined_as_nan(oracle, y, p), rtol=0, atol=1e-10)


@pytest.mark.parametrize('metric', [srocc, krcc, plcc])
def test_correlation_with_a_constant_is_undefined(metric):
    "As in scipy; also where the values of the constant differ by rounding."
    y = np.arange(6.0)
    for constant in (np.zeros(6), np.full(6, 0.1) * 3 - 0.3 + 5, 1 + 1e-16 * y):
        assert np.isnan(metric(y, constant)) and np.isnan(metric(constant, y))


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_errors_equal_their_definition(kind):
    "Mean squared error and its root, to a relative 1e-12."
    for y, p in draw(kind):
        np.testing.assert_allclose(mse(y, p), sum((y - p) ** 2) / len(y), rtol=1e-12)
        np.testing.assert_allclose(rmse(y, p), (sum((y - p) ** 2) / len(y)) ** 0.5, rtol=1e-12)


@pytest.mark.parametrize('kind', [continuous, related, five_levels, offset], ids=lambda kind: kind.__name__)
def test_metrics_equal_torchmetrics(kind):
    "Batches of predictions, to 1e-6 in float64 (torchmetrics adds a small constant to denominators)."
    import torch
    from torchmetrics.functional import (
        kendall_rank_corrcoef,
        mean_squared_error,
        pearson_corrcoef,
        spearman_corrcoef,
    )

    oracles = dict(srocc=spearman_corrcoef, plcc=pearson_corrcoef, mse=mean_squared_error)
    oracles['krcc'] = lambda p, y: kendall_rank_corrcoef(p, y, variant='b')
    rng = np.random.default_rng(3)
    for n in (12, 31, 90):
        y, p = kind(rng, n)
        collected = CorrelationMetrics()
        for batch in np.array_split(np.arange(n), 4):
            collected.update(torch.tensor(p[batch]), torch.tensor(y[batch]))
        ours = collected.compute()
        for name, oracle in oracles.items():
            theirs = float(oracle(torch.tensor(p), torch.tensor(y)))
            np.testing.assert_allclose(ours[name], theirs, rtol=1e-6, atol=1e-6, err_msg=name)


# --- The fitted metrics
# The formula is that of VQEG as pyiqa 0.1 has it (`pyiqa.metrics.correlation_coefficient.fit_curve`, curve
# `logistic_4params`): scipy's `curve_fit` from the start values max(y), min(y), mean(x), std(x) / 4.


def published_curve(x, high, low, middle, width):
    return (high - low) / (1 + np.exp(-(x - middle) / width)) + low


def published_fit(x, y):
    "Predictions after the published fit; None where scipy does not converge."
    start = [y.max(), y.min(), x.mean(), x.std() / 4]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            parameters, _ = curve_fit(published_curve, x, y, p0=start)
        except RuntimeError:
            return None
        return published_curve(x, *parameters)


def opinion_scores(seed, n, noise):
    "MOS that follow a logistic curve of the predictions, plus noise."
    rng = np.random.default_rng([11, seed])
    x = rng.normal(2, 3, n)
    low, high = np.sort(rng.uniform(0, 100, 2))
    width = rng.choice([-1, 1]) * rng.uniform(1, 3)
    y = published_curve(x, high + 20, low, rng.normal(2, 1), width)
    return x, y + noise * y.std() * rng.normal(size=n)


@pytest.mark.parametrize('noise', [0.1, 0.5, 1.0])
@pytest.mark.parametrize('n', [20, 100, 500])
def test_logistic_fit_equals_the_published_one(n, noise):
    """Where both converge, ours is never worse in squared error (to 1e-6), and both fitted PLCC agree to 1e-4
    wherever the published fit reaches the same minimum; it must do so in 4 of 5 cases."""
    same = []
    for seed in range(20):
        x, y = opinion_scores(seed, n, noise)
        theirs = published_fit(x, y)
        if theirs is None:
            continue
        ours = logistic4(x, fit_logistic4(x, y))
        error, published_error = ((ours - y) ** 2).sum(), ((theirs - y) ** 2).sum()
        assert error <= published_error * (1 + 1e-6), seed
        same.append(error >= published_error * (1 - 1e-6))
        if same[-1]:
            np.testing.assert_allclose(plcc(y, ours), stats.pearsonr(theirs, y)[0], atol=1e-4, rtol=0)
    assert len(same) >= 15 and np.mean(same) >= 0.8


def test_logistic_fit_recovers_a_noiseless_curve():
    "Parameters and predictions to 1e-6, and fitted PLCC 1, for rising and falling curves in any unit."
    for seed in range(40):
        x, y = opinion_scores(seed, 60, noise=0)
        fit = fit_logistic4(x, y)
        assert fit.ok
        np.testing.assert_allclose(logistic4(x, fit), y, atol=1e-6 * np.ptp(y), rtol=0)
        moved = fit_logistic4(1e-3 * x - 5, 40 - 1e3 * y)
        np.testing.assert_allclose(moved.b4, 1e-3 * fit.b4, rtol=1e-5)
        np.testing.assert_allclose(plcc(y, fit_predictions(y, x)), 1, atol=1e-9)


def test_table_holds_the_published_figures():
    "Each row of `regression_metrics` equals scipy's figure, before and after the published fit, to 1e-4."
    x, y = opinion_scores(1, 100, noise=0.5)
    table = regression_metrics(y, x, n_boot=20).set_index(['metric', 'fitted']).value
    fitted = published_fit(x, y)
    expected = {
        ('srocc', 'unfitted'): stats.spearmanr(y, x)[0],
        ('krcc', 'unfitted'): stats.kendalltau(y, x)[0],
        ('plcc', 'unfitted'): stats.pearsonr(y, x)[0],
        ('rmse', 'unfitted'): ((y - x) ** 2).mean() ** 0.5,
        ('plcc', 'logistic4'): stats.pearsonr(y, fitted)[0],
        ('rmse', 'logistic4'): ((y - fitted) ** 2).mean() ** 0.5,
    }
    for key, value in expected.items():
        np.testing.assert_allclose(table[key], value, rtol=1e-4, err_msg=str(key))


def test_summary_of_folds_equals_scipy():
    "Mean and sd over folds are those of scipy's figure in each fold; the pooled value is that of all rows."
    rng = np.random.default_rng(5)
    folds = [related(rng, 25) for _ in range(5)]
    each = [stats.spearmanr(y, p)[0] for y, p in folds]
    all_y, all_p = (np.concatenate(part) for part in zip(*folds, strict=True))
    row = cv_summary(folds).query("metric == 'srocc'").iloc[0]
    np.testing.assert_allclose(row['mean'], np.mean(each), atol=1e-10)
    np.testing.assert_allclose(row['sd'], np.std(each, ddof=1), atol=1e-10)
    np.testing.assert_allclose(row['pooled'], stats.spearmanr(all_y, all_p)[0], atol=1e-10)


# --- Intervals on held-out images


@pytest.mark.parametrize(
    ('name', 'oracle'), [('srocc', stats.spearmanr), ('plcc', stats.pearsonr), ('krcc', stats.kendalltau)]
)
def test_bootstrap_equals_scipy(name, oracle):
    "Bounds of the percentile bootstrap within 0.012 of `scipy.stats.bootstrap`, which draws other resamples."
    y, p = related(np.random.default_rng(2), 80)
    theirs = stats.bootstrap(
        (y, p),
        lambda a, b: oracle(a, b)[0],
        paired=True,
        vectorized=False,
        n_resamples=2500,
        method='percentile',
        rng=np.random.default_rng(0),
    ).confidence_interval
    ours = bootstrap_ci(y, p, name, n_boot=20_000)
    np.testing.assert_allclose([ours.lo, ours.hi], [theirs.low, theirs.high], atol=0.012, rtol=0)


def test_analytic_interval_equals_its_formula():
    "Bonett and Wright (2000): Fisher's z with variance (1 + r^2 / 2) / (n - 3), to 1e-12."
    for r in (-0.9, -0.2, 0.0, 0.5, 0.99):
        for n, level in ((4, 0.95), (50, 0.9), (1000, 0.99)):
            half = NormalDist().inv_cdf((1 + level) / 2) * ((1 + r * r / 2) / (n - 3)) ** 0.5
            expected = np.tanh([np.arctanh(r) - half, np.arctanh(r) + half])
            np.testing.assert_allclose(spearman_ci(r, n, level), expected, atol=1e-12)
