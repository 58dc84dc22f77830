"""Regression heads, the domain and the splits against scikit-learn and scipy, and tests that nothing leaks.

Features and MOS are made. A test about leakage compares predictions bit for bit.
"""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.model_selection import (
    KFold,
    LeaveOneGroupOut,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from system import write_split

from realness.lab.folds import leave_group_out, make_folds
from realness.lab.rows import plain_row
from realness.metrics import srocc
from realness.regression.baselines import baseline_predictions
from realness.regression.cross_validation import (
    apply_head,
    cross_validate,
    predict_fold,
    predict_held_out,
    split_repeatedly,
)
from realness.regression.domain import BlockDomain, Domain, DomainSettings
from realness.regression.feature_blocks import FeatureRows
from realness.regression.kernel_fit import fit_kernel
from realness.regression.kernel_recipe import KernelRecipe
from realness.regression.run_config import RunConfig
from realness.regression.train import load_and_prepare_data

PLAIN = dict(
    rank_share=0.0, linear_share=0.0, block_weights={}
)  # a recipe: one RBF kernel, MOS as the target


def made_rows(n, seed=0, widths=None):
    "Features of which some follow the MOS, and the MOS."
    rng = np.random.default_rng(seed)
    mos = rng.normal(size=n)
    blocks = {}
    for name, width in (widths or dict(image=20)).items():
        signal = mos[:, None] * rng.normal(size=width) * (rng.random(width) < 0.3)
        blocks[name] = (signal + rng.normal(size=(n, width))).astype(np.float32)
    return FeatureRows(blocks, mos)


def scaled(values, train):
    "Columns with mean 0 and sd 1 over the training rows, clipped at 5 sd, over the root of their number."
    values, train = values.astype(float), train.astype(float)
    return ((values - train.mean(0)) / train.std(0)).clip(-5, 5) / values.shape[1] ** 0.5


# --- Kernel heads


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('params', [dict(C=1.0, epsilon=0.1), dict(C=4.0, epsilon=0.3)], ids=str)
def test_svr_equals_scikit_learn(params, seed):
    "One block, an RBF kernel: predictions of new rows as by `SVR(kernel='rbf')`, to its tolerance of 1e-3."
    rows, new = made_rows(80, seed), made_rows(40, seed + 100)
    head = fit_kernel(rows, 'svr', dict(params, g=1.0), KernelRecipe(solver='svr', **PLAIN))
    x = scaled(rows.blocks['image'], rows.blocks['image'])
    gamma = 1 / (x**2).sum(1).mean()
    machine = SVR(kernel='rbf', gamma=gamma, tol=1e-3, **params).fit(x, rows.mos)
    expected = machine.predict(scaled(new.blocks['image'], rows.blocks['image']))
    np.testing.assert_allclose(apply_head(head, new), expected, atol=1e-3)


@pytest.mark.parametrize('noise', [0.1, 0.8])
@pytest.mark.parametrize('seed', range(3))
def test_gp_equals_scikit_learn(noise, seed):
    "One block, an RBF kernel: the posterior mean of `GaussianProcessRegressor` on centred MOS, to 1e-5."
    rows, new = made_rows(80, seed), made_rows(40, seed + 100)
    head = fit_kernel(rows, 'gp', dict(noise=noise, g=1.0), KernelRecipe(solver='gp', **PLAIN))
    x = scaled(rows.blocks['image'], rows.blocks['image'])
    length_scale = ((x**2).sum(1).mean() / 2) ** 0.5
    process = GaussianProcessRegressor(RBF(length_scale), alpha=noise, optimizer=None)
    process.fit(x, rows.mos - rows.mos.mean())
    expected = process.predict(scaled(new.blocks['image'], rows.blocks['image'])) + rows.mos.mean()
    np.testing.assert_allclose(apply_head(head, new), expected, atol=1e-5)


def test_gp_weights_copies_as_scikit_learn():
    "Re-encoded copies are rows of a larger noise: noise / weight, with a tenth of the weight for the copies."
    rows, copy = made_rows(60, 1), made_rows(60, 2)
    with_copy = FeatureRows(rows.blocks, rows.mos, (copy.blocks,))
    head = fit_kernel(with_copy, 'gp', dict(noise=0.2, g=1.0), KernelRecipe(solver='gp', **PLAIN))
    stacked = np.concatenate([rows.blocks['image'], copy.blocks['image']])
    x = scaled(stacked, stacked)
    alpha = 0.2 / np.repeat([0.9, 0.1], 60)
    length_scale = ((x**2).sum(1).mean() / 2) ** 0.5
    process = GaussianProcessRegressor(RBF(length_scale), alpha=alpha, optimizer=None)
    mean = rows.mos.mean()
    process.fit(x, np.tile(rows.mos, 2) - mean)
    new = made_rows(30, 3)
    expected = process.predict(scaled(new.blocks['image'], stacked)) + mean
    np.testing.assert_allclose(apply_head(head, new), expected, atol=1e-5)


def literal_kernel(a, b, lengths):
    """The default kernel of an image with blocks `image` and `half` and a text, as its documentation says.

    0.3 over all blocks, 0.45 / 2 for each image block and 0.25 for the text; each is 0.7 RBF and 0.3 linear.
    """
    parts = [(0.3, ['image', 'half', 'text']), (0.225, ['image']), (0.225, ['half']), (0.25, ['text'])]
    total = 0
    for share, names in parts:
        x, y = (np.concatenate([side[name] for name in names], 1) for side in (a, b))
        gamma = 1 / sum(lengths[name] for name in names)
        distance = ((x[:, None] - y[None]) ** 2).sum(-1)
        total = total + share * (0.7 * np.exp(-gamma * distance) + 0.3 * gamma * x @ y.T)
    return total


def test_default_kernel_equals_its_definition():
    "Mixture of kernels and blend of MOS with normal scores, solved by scikit-learn: to 1e-5."
    widths = dict(image=12, half=12, text=9)
    rows, new = made_rows(70, 4, widths), made_rows(30, 5, widths)
    weights = dict(image=1.0, half=0.5, text=0.8)
    fixed = {name: weight for name, weight in weights.items() if weight != 1}
    head = fit_kernel(rows, 'gp', dict(fixed, g=1.0, noise=0.4))
    a, b = (
        {name: weights[name] * scaled(side.blocks[name], rows.blocks[name]) for name in widths}
        for side in (rows, new)
    )
    lengths = {name: (values**2).sum(1).mean() for name, values in a.items()}
    ranks = stats.norm.ppf((stats.rankdata(rows.mos) - 0.5) / len(rows))
    target = (rows.mos + rows.mos.mean() + rows.mos.std() * ranks) / 2
    matrix = literal_kernel(a, a, lengths) + 0.4 * np.eye(len(rows))
    predicted = target.mean() + literal_kernel(b, a, lengths) @ np.linalg.solve(
        matrix, target - target.mean()
    )
    order = np.argsort(target)
    inside = (predicted > target.min()) & (predicted < target.max())
    expected = np.interp(predicted, target[order], rows.mos[order])
    assert inside.mean() > 0.8
    np.testing.assert_allclose(apply_head(head, new)[inside], expected[inside], atol=1e-5)


def test_chosen_parameters_have_the_lowest_error_over_inner_folds():
    "Choice of C and epsilon by five shuffled folds of scikit-learn; the mean squared error to 1e-3."
    rows = made_rows(60, 6)
    recipe = KernelRecipe(solver='svr', **PLAIN)
    chosen = fit_kernel(rows, 'svr', recipe=recipe, seed=3).params
    x = scaled(rows.blocks['image'], rows.blocks['image'])
    matrix = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / (x**2).sum(1).mean())
    errors = {}
    for c in (1.0, 2.0, 4.0):
        for epsilon in (0.1, 0.3):
            total = 0
            for train, test in KFold(5, shuffle=True, random_state=3).split(x):
                machine = SVR(kernel='precomputed', C=c, epsilon=epsilon)
                machine.fit(matrix[np.ix_(train, train)], rows.mos[train])
                total += ((machine.predict(matrix[np.ix_(test, train)]) - rows.mos[test]) ** 2).sum()
            errors[c, epsilon] = total / len(rows)
    assert (chosen['C'], chosen['epsilon']) == min(errors, key=errors.get)
    np.testing.assert_allclose(chosen['score'], min(errors.values()), rtol=1e-3)


# --- Domain


@pytest.mark.parametrize('measure', ['inside', 'left', 'both'])
@pytest.mark.parametrize(('n', 'width'), [(120, 20), (40, 90)])
def test_distance_equals_pca_and_ledoit_wolf(measure, n, width):
    "Distances of new rows from principal directions and shrunk variances of scikit-learn, to 1e-4."
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(width, width))
    train, new = (rng.normal(size=(rows, width)) @ mixing for rows in (n, 30))
    k = 6
    z, z_new = ((x - train.mean(0)) / train.std(0) for x in (train, new))
    pca = PCA(k, svd_solver='full').fit(z)
    scores = pca.transform(z)
    variances = np.diag(LedoitWolf().fit(scores).covariance_)
    inside = (pca.transform(z_new) ** 2 / variances).mean(1)
    rest = ((z - pca.inverse_transform(scores)) ** 2).sum(1).mean()
    left = ((z_new - pca.inverse_transform(pca.transform(z_new))) ** 2).sum(1) / rest
    expected = np.sqrt(dict(inside=inside, left=left, both=inside + left)[measure])
    np.testing.assert_allclose(BlockDomain(width, k, measure).fit(train)(new), expected, rtol=1e-4)


@pytest.mark.slow
def test_one_in_twenty_images_of_the_domain_is_flagged():
    "Simulation: 4,000 new images of the same distribution, 20 training sets; 5 % flagged, within 2 %."
    shares = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mixing = rng.normal(size=(30, 30))
        train, new = (rng.normal(size=(n, 30)) @ mixing for n in (200, 200))
        domain = Domain.fit(dict(image=train), settings=DomainSettings(measures={}), seed=seed)
        shares.append(float((domain(dict(image=new)) > 1).double().mean()))
    assert abs(np.mean(shares) - 0.05) < 0.02


# --- Splits, row for row


def test_split_equals_train_test_split(tmp_path):
    "The published split: a fifth for validation, seed 42, in the same order."
    write_split(tmp_path / 'train', 23, seed=0)
    table = pd.read_csv(tmp_path / 'train/image_descriptions.csv')
    train, validation = train_test_split(table, test_size=0.20, random_state=42)
    ours = load_and_prepare_data(tmp_path)
    assert ours[0].filename.tolist() == train.filename.tolist()
    assert ours[1].filename.tolist() == validation.filename.tolist()


@pytest.mark.parametrize('stratified', [False, True])
def test_folds_equal_those_of_scikit_learn(stratified):
    "Repeated folds of `train` and of `lab`: the same rows in the same order."
    strata = np.arange(47) % 3 == 0 if stratified else None
    splitter = RepeatedStratifiedKFold if stratified else RepeatedKFold
    expected = list(splitter(n_splits=5, n_repeats=2, random_state=9).split(np.zeros(47), strata))
    for folds in (
        split_repeatedly(47, RunConfig(cv=5, repeats=2, seed=9), strata),
        make_folds(47, folds=5, repeats=2, seed=9, strata=strata),
    ):
        assert len(folds) == len(expected)
        for fold, (train, test) in zip(folds, expected, strict=True):
            np.testing.assert_array_equal(fold.train, train)
            np.testing.assert_array_equal(fold.test, test)


def test_leaving_out_a_group_equals_scikit_learn():
    groups = np.array(list('bbacaaddcb'))
    expected = LeaveOneGroupOut().split(np.zeros(len(groups)), groups=groups)
    for fold, (train, test) in zip(leave_group_out(groups), expected, strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.test, test)


@pytest.mark.parametrize('seed', range(5))
def test_group_folds_never_share_a_group(seed):
    "Each row is tested once in a repeat, and no group stands on both sides."
    groups = np.random.default_rng(seed).integers(0, 12, 80)
    folds = make_folds(80, folds=4, repeats=2, seed=seed, groups=groups)
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.test])
        assert sorted([*fold.train, *fold.test]) == list(range(80))
    for repeat in range(2):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        assert sorted(tested) == list(range(80))


# --- Leakage


HEADS = [dict(head='svr'), dict(head='gp'), dict(head='mlp', epochs=3)]
by_head = pytest.mark.parametrize('options', HEADS, ids=lambda options: options['head'])


def replaced(rows, which, mos=None, **blocks):
    "The rows with other MOS and blocks in some places."
    new_mos = rows.mos.copy()
    if mos is not None:
        new_mos[which] = mos
    new_blocks = {name: values.copy() for name, values in rows.blocks.items()}
    for name, values in blocks.items():
        new_blocks[name][which] = values
    return FeatureRows(new_blocks, new_mos)


def predict_fifteen(options, seed):
    "Rows, a function that predicts the last 15 of 60 rows from the others, and what it gives for these rows."
    rows = made_rows(60, seed, dict(image=10, text=8))
    config = RunConfig(encoders='lite', **options)
    predict = partial(predict_fold, train=np.arange(45), test=np.arange(45, 60), config=config)
    return rows, predict, predict(rows)


@by_head
def test_predictions_do_not_depend_on_the_mos_of_the_test_rows(options):
    "Scaling, target, hyper-parameters, epoch and head are learned from the training rows: equal bit for bit."
    rows, predict, expected = predict_fifteen(options, 7)
    other = replaced(rows, np.arange(45, 60), mos=1e3 * np.arange(15))
    np.testing.assert_array_equal(predict(other), expected)


@by_head
def test_predictions_do_not_depend_on_other_test_rows(options):
    "A test row gets the same prediction among any others, to 1e-12: nothing is standardised over them."
    rows, predict, expected = predict_fifteen(options, 8)
    other = replaced(rows, np.arange(46, 60), image=99.0, text=-99.0)
    np.testing.assert_allclose(predict(other)[0], expected[0], atol=1e-12)


def add_column(rows, column):
    blocks = dict(image=np.column_stack([rows.blocks['image'], column]).astype(np.float32))
    return FeatureRows(blocks, rows.mos)


@pytest.mark.parametrize('head', ['svr', 'gp'])
def test_a_column_with_the_mos_of_the_test_rows_does_not_help(head):
    """Features are noise, but in the test rows of each fold one column is the MOS: SROCC of all rows within
    3 sd of 0. With the MOS in the training rows as well it is above 0.5, so the test would see a leak."""
    rng = np.random.default_rng(0)
    n = 200
    rows = FeatureRows(dict(image=rng.normal(size=(n, 6)).astype(np.float32)), rng.normal(size=n))
    config = RunConfig(encoders='lite', head=head, modality='image', cv=5)
    predicted, control = np.zeros(n), np.zeros(n)
    for fold in split_repeatedly(n, config):
        column = rng.normal(size=n)
        column[fold.test] = rows.mos[fold.test]
        predicted[fold.test] = predict_fold(add_column(rows, column), fold.train, fold.test, config)
        control[fold.test] = predict_fold(add_column(rows, rows.mos), fold.train, fold.test, config)
    assert abs(srocc(rows.mos, predicted)) < 3 / n**0.5
    assert srocc(rows.mos, control) > 0.5


@pytest.mark.parametrize('head', ['svr', 'gp'])
def test_held_out_predictions_of_noise_are_worthless(head):
    "Noise as features: the held-out predictions of `--cv`, and those behind the intervals, within 3 sd of 0."
    rng = np.random.default_rng(1)
    n = 200
    rows = FeatureRows(dict(image=rng.normal(size=(n, 30)).astype(np.float32)), rng.normal(size=n))
    config = RunConfig(encoders='lite', head=head, modality='image', cv=5)
    table, predictions = cross_validate(rows, config)
    held_out = predict_held_out(rows, config)
    assert abs(srocc(rows.mos, predictions[0])) < 3 / n**0.5
    assert abs(srocc(held_out.mos, held_out.predictions)) < 3 / n**0.5
    pooled = table.set_index('metric').pooled['srocc']
    np.testing.assert_allclose(pooled, stats.spearmanr(rows.mos, predictions[0])[0], atol=1e-12)


def test_plain_row_of_lab_equals_scikit_learn():
    "Standardised on the training rows alone and fitted by SVR(C=3): to 1e-6; MOS of test rows are not read."
    rows = made_rows(60, 9, dict(image=10))
    train, test = np.arange(45), np.arange(45, 60)
    predicted = plain_row(rows.blocks, rows.mos)(train, test)
    other = replaced(rows, test, mos=1e3)
    np.testing.assert_array_equal(plain_row(other.blocks, other.mos)(train, test), predicted)
    machine = make_pipeline(StandardScaler(), SVR(C=3, gamma='scale'))
    x = rows.blocks['image'].astype(float)
    expected = machine.fit(x[train], rows.mos[train]).predict(x[test])
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_baselines_do_not_read_the_mos_of_the_test_rows():
    "Mean, answer word and TF-IDF with ridge regression, bit for bit; the mean is that of the training rows."
    rng = np.random.default_rng(2)
    words = ['No, natural.', 'Yes, the hand melts.', 'Somewhat, the sky is flat.']
    table = pd.DataFrame(dict(filename=[f'{i}.png' for i in range(40)], MOS=rng.normal(size=40)))
    table['description'] = [words[i % 3] for i in range(40)]
    train, test = table[:30], table[30:]
    first = baseline_predictions(train, test)
    second = baseline_predictions(train, test.assign(MOS=1e3))
    assert set(first) >= {'mean of training', 'answer word', 'TF-IDF + ridge'}
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)
    assert (first['mean of training'] == train.MOS.mean()).all()


def test_a_prediction_does_not_depend_on_its_batch():
    "Rows in one batch, and each alone: to 1e-12."
    rows, new = made_rows(50, 10), made_rows(8, 11)
    head = fit_kernel(rows, 'svr', dict(C=1.0, epsilon=0.1, g=1.0)).double()
    together = apply_head(head, new)
    with torch.no_grad():
        alone = [head(dict(image=torch.from_numpy(row[None]).double())).item() for row in new.blocks['image']]
    np.testing.assert_allclose(together, alone, atol=1e-12)
