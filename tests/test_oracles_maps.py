"""Map metrics against scikit-learn, the definitions of their papers, and figures of published evaluations.

The figures of pysaliency 0.2.22 and of MVTec's evaluation (the copy in ADEval 1.1.0) were made with the
functions `made_map` and `made_mask`. Both packages need a compiler or libraries of 60 MB, so only their
figures are here.
"""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from realness.localization.map_metrics import cc, image_metrics, kld, map_metrics, nss, sim
from realness.localization.pixel_metrics import aupro, f1_max, pixel_ap, pixel_auroc, pointing_game
from realness.localization.surface import Surface

CASES = 60  # random cases of each kind of map


def blobs(rng, shape):
    "A mask with one to four rectangles, some of which touch at a corner only."
    mask = np.zeros(shape)
    for _ in range(rng.integers(1, 5)):
        y, x = rng.integers(0, shape[0] - 3), rng.integers(0, shape[1] - 3)
        mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = 1
    return mask


def smooth(rng, shape, mask):
    return ndimage.gaussian_filter(rng.normal(size=shape) + mask, 1.5)


def quantised(rng, shape, mask):
    return (4 * smooth(rng, shape, mask)).round() / 4


def binary(rng, shape, mask):
    return (smooth(rng, shape, mask) > 0.3).astype(float)


def constant(rng, shape, mask):
    return np.full(shape, rng.normal())


def single_precision(rng, shape, mask):
    return (1000 + smooth(rng, shape, mask)).astype(np.float32)


KINDS = (smooth, quantised, binary, constant, single_precision)


def draw(kind):
    "Yield all cases of one kind: map and mask."
    rng = np.random.default_rng([5, KINDS.index(kind)])
    for _ in range(CASES):
        shape = tuple(rng.integers(8, 25, 2))
        mask = blobs(rng, shape)
        if not mask.all():
            yield kind(rng, shape, mask), mask


by_kind = pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)


# --- Ranks of pixels


@by_kind
def test_pixel_metrics_equal_scikit_learn(kind):
    "AUROC, average precision and the best F1 of one image, to 1e-12, ties included."
    for heatmap, mask in draw(kind):
        labels, scores = mask.ravel().astype(int), heatmap.ravel()
        precision, recall, _ = precision_recall_curve(labels, scores)
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
        np.testing.assert_allclose(pixel_auroc(heatmap, mask), roc_auc_score(labels, scores), atol=1e-12)
        np.testing.assert_allclose(
            pixel_ap(heatmap, mask), average_precision_score(labels, scores), atol=1e-12
        )
        np.testing.assert_allclose(f1_max(heatmap, mask), best, atol=1e-12)


@by_kind
def test_pooled_pixel_metrics_equal_scikit_learn(kind):
    "The same over the pixels of all images, one of them without a defect, to 1e-12."
    maps, masks = map(list, zip(*draw(kind), strict=True))
    masks[0] = np.zeros_like(masks[0])
    scores = np.concatenate([heatmap.ravel() for heatmap in maps])
    labels = np.concatenate([mask.ravel() for mask in masks]).astype(int)
    pooled = map_metrics(maps, masks, lo=-1e4, hi=1e4)
    np.testing.assert_allclose(pooled['pixel_auroc'], roc_auc_score(labels, scores), atol=1e-12)
    np.testing.assert_allclose(pooled['pixel_ap'], average_precision_score(labels, scores), atol=1e-12)
    assert pooled['n_clean'] == 1


def regions_of(mask):
    "The pixels of each region; pixels that touch at a corner belong together, as in MVTec's evaluation."
    pixels = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while pixels:
        waiting, region = [pixels.pop()], []
        while waiting:
            y, x = waiting.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & pixels
            pixels -= near
            waiting += near
        regions.append(region)
    return regions


def literal_aupro(maps, masks, limit):
    """The definition of Bergmann et al. (2020), literally.

    For every threshold: the share of clean pixels at or above it, and the share of each region at or above
    it, averaged over the regions of all images. The area by trapezoids up to `limit`, over `limit`.
    """
    clean = np.concatenate([heatmap[mask == 0] for heatmap, mask in zip(maps, masks, strict=True)])
    regions = []
    for heatmap, mask in zip(maps, masks, strict=True):
        regions += [np.array([heatmap[pixel] for pixel in region]) for region in regions_of(mask)]
    thresholds = np.unique(np.concatenate([heatmap.ravel() for heatmap in maps]))[::-1]
    rates, overlaps = [0.0], [0.0]
    for threshold in thresholds:
        rates.append(np.mean(clean >= threshold))
        overlaps.append(np.mean([np.mean(values >= threshold) for values in regions]))
    area = 0.0
    for i in range(1, len(rates)):
        left, right = rates[i - 1], min(rates[i], limit)
        if right <= left:
            continue
        slope = (overlaps[i] - overlaps[i - 1]) / (rates[i] - rates[i - 1])
        area += (right - left) * (overlaps[i - 1] + slope * (right - left) / 2)
    return area / limit


@pytest.mark.parametrize('limit', [0.01, 0.05, 0.3, 1.0])
@by_kind
def test_aupro_equals_its_definition(kind, limit):
    "AUPRO of single images and of sets of three, to 1e-12, ties included."
    cases = list(draw(kind))[:30]
    for start in range(0, len(cases), 3):
        maps, masks = map(list, zip(*cases[start : start + 3], strict=True))
        expected = literal_aupro(maps, masks, limit)
        np.testing.assert_allclose(aupro(maps, masks, limit), expected, atol=1e-12)
        expected = literal_aupro(maps[:1], masks[:1], limit)
        np.testing.assert_allclose(aupro(maps[0], masks[0], limit), expected, atol=1e-12)


def judd(heatmap, mask):
    "`AUC_Judd.m` of the MIT saliency benchmark: trapezoids between the thresholds at the marked pixels."
    marked = np.sort(heatmap[mask > 0])[::-1]
    n = len(marked)
    above = np.array([np.sum(heatmap >= value) for value in marked])
    hits = np.concatenate([[0], np.arange(1, n + 1) / n, [1]])
    alarms = np.concatenate([[0], (above - np.arange(1, n + 1)) / (heatmap.size - n), [1]])
    return np.trapezoid(hits, alarms)


def test_auroc_of_an_image_is_judds():
    """Maps without ties. Judd's trapezoids span one marked pixel each; they exceed the exact area, which we
    compute, by at most 1 / (2 n) with n marked pixels."""
    for heatmap, mask in draw(smooth):
        excess = judd(heatmap, mask) - image_metrics(heatmap, mask)['auc_judd']
        assert -1e-12 <= excess <= 0.5 / mask.sum() + 1e-12


@by_kind
def test_pointing_game_equals_its_definition(kind):
    "The share of the highest pixels that are marked, or lie within 2 pixels of a mark."
    for heatmap, mask in draw(kind):
        tops = np.argwhere(heatmap == heatmap.max())
        marks = np.argwhere(mask)
        distances = np.sqrt(((tops[:, None] - marks[None]) ** 2).sum(-1)).min(1)
        assert pointing_game(heatmap, mask) == np.mean(distances == 0)
        assert pointing_game(heatmap, mask, margin=2) == np.mean(distances <= 2)


# --- Values of pixels
# The formulas of the MIT/Tuebingen saliency benchmark, restated. The map is moved to a minimum of 0, as in
# `similarity.m`; pysaliency does so only for maps with negative values.


def density(values):
    values = np.asarray(values, dtype=float)
    values = values - values.min()
    return values / values.sum() if values.sum() else np.full(values.shape, 1 / values.size)


def literal_values(heatmap, mask):
    heatmap, eps = np.asarray(heatmap, dtype=float), 2.2204e-16
    p, g = density(heatmap), density(mask)
    standardised = (heatmap - heatmap.mean()) / heatmap.std()
    return dict(
        cc=np.corrcoef(heatmap.ravel(), mask.ravel())[0, 1],
        sim=sum(min(pair) for pair in zip(p.ravel(), g.ravel(), strict=True)),
        kld=(g * np.log(eps + g / (p + eps))).sum(),
        nss=standardised[mask > 0].mean(),
    )


@pytest.mark.parametrize(
    'kind', [smooth, quantised, binary, single_precision], ids=lambda kind: kind.__name__
)
def test_value_metrics_equal_their_formulas(kind):
    "CC, SIM, KLD and NSS to 1e-6; maps with values below 0 and in single precision among them."
    for heatmap, mask in draw(kind):
        if np.ptp(heatmap) == 0:
            continue
        for name, value in literal_values(heatmap, mask).items():
            ours = dict(cc=cc, sim=sim, kld=kld, nss=nss)[name](heatmap, mask)
            np.testing.assert_allclose(ours, value, rtol=1e-6, atol=1e-6, err_msg=name)


def test_constant_map_has_the_values_of_the_benchmark():
    "CC and NSS are undefined; SIM and KLD are those of the uniform density."
    mask = np.zeros((8, 10))
    mask[2:4, 3:8] = 1
    heatmap = np.full((8, 10), 0.1) * 3
    assert np.isnan(cc(heatmap, mask)) and np.isnan(nss(heatmap, mask))
    np.testing.assert_allclose([sim(heatmap, mask), kld(heatmap, mask)], [1 / 8, np.log(8)], atol=1e-9)


# --- The surface of the progressive engine


@pytest.mark.parametrize(('length', 'noise'), [(30.0, 0.1), (120.0, 0.01), (60.0, 1.0)])
def test_surface_equals_a_gaussian_process(length, noise):
    "The posterior mean of scikit-learn with a Matern 5/2 kernel on standardised scores, to 1e-3 of their sd."
    rng = np.random.default_rng(0)
    places, new = rng.uniform(0, 400, (120, 2)), rng.uniform(0, 400, (50, 2))
    scores = np.sin(places[:, 0] / 60) + 0.1 * rng.normal(size=120)
    process = GaussianProcessRegressor(Matern(length, nu=2.5), alpha=noise, optimizer=None, normalize_y=True)
    expected = process.fit(places, scores).predict(new)
    ours = Surface(places, scores, window=64, smoothness=(length, noise))(new)
    np.testing.assert_allclose(ours, expected, atol=1e-3 * scores.std(), rtol=0)


def test_chosen_smoothness_has_the_highest_likelihood():
    """Among all pairs that are tried, by scikit-learn's log marginal likelihood. The overall scale of kernel
    and noise is fitted in each pair; its best value follows from the likelihood."""
    rng = np.random.default_rng(1)
    places = rng.uniform(0, 300, (60, 2))
    scores = np.cos(places[:, 1] / 50) + 0.2 * rng.normal(size=60)
    standard = (scores - scores.mean()) / scores.std()
    likelihoods = {}
    for share in (0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 2.0, 4.0):
        for noise in (1e-3, 0.01, 0.03, 0.1, 0.3, 1.0):
            matrix = Matern(share * 64, nu=2.5)(places) + noise * np.eye(60)
            scale = standard @ np.linalg.solve(matrix, standard) / 60
            kernel = ConstantKernel(scale) * (Matern(share * 64, nu=2.5) + WhiteKernel(noise))
            process = GaussianProcessRegressor(kernel, alpha=1e-12, optimizer=None).fit(places, standard)
            likelihoods[share * 64, noise] = process.log_marginal_likelihood_value_
    surface = Surface(places, scores, window=64)
    best = max(likelihoods.values())
    assert likelihoods[surface.length, surface.noise] > best - 1e-3


# --- Figures of published evaluations


def made_map(seed, height=24, width=32):
    "A map from 0 to 1 whose values do not repeat."
    rows, columns = np.mgrid[:height, :width]
    values = np.sin(rows * (seed + 1) / 5) + np.cos(columns * (seed + 2) / 7)
    values += np.sin(rows * columns * (seed + 3) / 11)
    return ((values - values.min()) / np.ptp(values)).round(6)


def made_mask(seed, height=24, width=32):
    "Rectangles, a pixel that touches one of them at a corner, and a pixel of its own."
    mask = np.zeros((height, width))
    mask[3 : 9 + seed, 4:12] = 1
    mask[14:18, 20 - seed : 27] = 1
    mask[9 + seed, 12] = 1
    mask[20:22, 2 + seed] = 1
    return mask


PYSALIENCY = [  # `CC`, `SIM`, `MIT_KLDiv`, mean of `NSS`, `general_roc_numba` of marked and clean pixels
    dict(cc=0.06931151833, sim=0.1115611392, kld=2.235901748, nss=0.2046922868, auc_judd=0.5637045066),
    dict(cc=-0.1739505729, sim=0.09632362188, kld=2.441766150, nss=-0.4744598877, auc_judd=0.3364552729),
    dict(cc=-0.03764899981, sim=0.1288499414, kld=2.184490516, nss=-0.09566336504, auc_judd=0.4647930506),
]


@pytest.mark.parametrize('seed', range(3))
def test_metrics_equal_those_of_pysaliency(seed):
    "CC, SIM, KLD, NSS and AUC of made maps to 1e-6."
    ours = image_metrics(made_map(seed), made_mask(seed))
    for name, value in PYSALIENCY[seed].items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-6, err_msg=name)


MVTEC = {0.05: 0.012923287, 0.3: 0.103159714, 1.0: 0.432786759}  # with a threshold at every clean pixel


@pytest.mark.parametrize('limit', MVTEC)
def test_aupro_equals_that_of_mvtec(limit):
    """Three made maps with defects and one without, to 2e-4: MVTec's evaluation joins the points of its curve
    at clean pixels by lines, and ours has all of its steps."""
    maps = [made_map(seed) for seed in range(4)]
    masks = [*(made_mask(seed) for seed in range(3)), np.zeros((24, 32))]
    np.testing.assert_allclose(aupro(maps, masks, limit), MVTEC[limit], atol=2e-4)
