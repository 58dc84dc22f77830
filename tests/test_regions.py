"""Regions from annotation tools, maps made from them, and their evaluation, from the command line."""

import csv
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image
from system import noise

from realness.regions import Region, RegionImage, find_regions, read_regions, write_coco

BOX = [32.0, 24.0, 64.0, 48.0]  # left, top, width, height in an image of 160 x 120
REGION = (0.2, 0.2, 0.6, 0.6)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Three images with a table that has no regions."""
    root = tmp_path_factory.mktemp('regions')
    folder = root / 'images'
    folder.mkdir()
    for number in range(3):
        noise(number, (160, 120)).save(folder / f'f{number}.png')
    rows = ''.join(f'f{number}.png,Yes. It melts.\n' for number in range(3))
    (root / 'image_descriptions.csv').write_text('filename,description\n' + rows)
    return root


@pytest.fixture
def run_here(realness_here, images):
    """Runs `realness ...` in this process, with a cache that the tests of this file share."""
    return partial(realness_here, cache=images / 'cache')


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def boxes(folder, name='boxes.json', box=REGION, **facts):
    """A COCO file in which each image has one region."""
    entries = [RegionImage(f'f{i}.png', 160, 120, (Region(*box, **facts),)) for i in range(3)]
    write_coco(folder / name, entries)
    return folder / name


def table(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


# --- What annotation tools write


def test_cvat_export(tmp_path):
    """CVAT writes attributes as text, a category for each label, and folders in file names."""
    path = write_json(
        tmp_path / 'instances_default.json',
        {
            'licenses': [{'name': '', 'id': 0, 'url': ''}],
            'info': {'contributor': '', 'date_created': '', 'description': ''},
            'categories': [{'id': 1, 'name': 'hand', 'supercategory': ''}],
            'images': [{'id': 1, 'width': 160, 'height': 120, 'file_name': 'task/f0.png', 'license': 0}],
            'annotations': [
                {
                    'id': 1,
                    'image_id': 1,
                    'category_id': 1,
                    'segmentation': [],
                    'area': 3072.0,
                    'bbox': BOX,
                    'iscrowd': 0,
                    'attributes': {'severity': '3', 'occluded': False, 'rotation': 0.0},
                }
            ],
        },
    )
    assert find_regions(read_regions(path), 'f0.png') == (Region(*REGION, 'hand', 3),)


def test_label_studio_export(tmp_path):
    """Label Studio puts a prefix before names, counts from 0 and keeps only the category."""
    path = write_json(
        tmp_path / 'result.json',
        {
            'images': [{'width': 160, 'height': 120, 'id': 0, 'file_name': 'images/1/3fa1b2c4-f0.png'}],
            'categories': [{'id': 0, 'name': 'severity 1'}, {'id': 1, 'name': 'severity 3'}],
            'annotations': [
                {
                    'id': 0,
                    'image_id': 0,
                    'category_id': 1,
                    'segmentation': [],
                    'bbox': BOX,
                    'ignore': 0,
                    'iscrowd': 0,
                    'area': 3072,
                }
            ],
            'info': {'year': 2026, 'version': '1.0', 'contributor': 'Label Studio'},
        },
    )
    assert find_regions(read_regions(path), 'data/images/f0.png') == (Region(*REGION, severity=3),)


def test_fiftyone_export(tmp_path):
    """FiftyOne writes further attributes as keys of the annotation."""
    annotation = {'id': 1, 'image_id': 1, 'category_id': 3, 'bbox': BOX, 'area': 3072, 'iscrowd': 0}
    path = write_json(
        tmp_path / 'labels.json',
        {
            'info': {},
            'licenses': [],
            'categories': [{'id': 3, 'name': 'severity 3', 'supercategory': None}],
            'images': [{'id': 1, 'file_name': 'f0.png', 'height': 120, 'width': 160, 'license': None}],
            'annotations': [annotation | {'label': 'six fingers', 'severity': 1}],
        },
    )
    assert read_regions(path) == {'f0.png': (Region(*REGION, 'six fingers', 1),)}


# --- Maps


def test_map_from_a_coco_file(realness, images, tmp_path):
    result = realness(
        'heatmap', images / 'images', '--variant', 'pointed', '--regions', boxes(tmp_path), '--out', tmp_path
    )
    assert result.code == 0, result.err
    values = np.load(tmp_path / 'f0.npy')
    assert values[48, 64] == values.max() > 0.8  # the middle of the box
    assert 0 <= values[110, 150] < 0.2
    facts = json.loads((tmp_path / 'f0.json').read_text())
    assert (facts['lo'], facts['hi'], facts['direction']) == (0, 1, 'unrealism')
    assert [facts['marked'][0][name] for name in ('x0', 'y0', 'x1', 'y1')] == list(REGION)


def test_map_is_made_again_when_its_regions_change(run_here, images, tmp_path):
    def make(box):
        path = boxes(tmp_path, box=box)
        image = images / 'images/f0.png'
        result = run_here(
            'heatmap', image, '--variant', 'fused', '--regions', path, '--out', tmp_path, '--json'
        )
        assert result.code == 0, result.err
        return json.loads(result.out)['made']

    assert [make(REGION), make(REGION), make((0.5, 0.5, 0.9, 0.9))] == ['now', 'before', 'now']


def test_map_without_regions_says_so(run_here, images, tmp_path):
    result = run_here('heatmap', images / 'images/f0.png', '--variant', 'pointed', '--out', tmp_path)
    assert result.code == 0, result.err
    assert 'no regions are given for this image' in result.err


def test_regions_in_the_table_of_descriptions(run_here, images, tmp_path):
    path = tmp_path / 'table.csv'
    path.write_text('filename,description,regions\nf0.png,Yes.,"[[0.2, 0.2, 0.6, 0.6]]"\n')
    options = ('--variant', 'pointed', '--data', path, '--out', tmp_path)
    result = run_here('heatmap', images / 'images/f0.png', *options)
    assert (result.code, 'no regions' in result.err) == (0, False)


@pytest.mark.parametrize(
    'annotation, problem',
    [
        ({'id': 7, 'image_id': 1, 'bbox': [1, 1, 0, 5]}, 'annotation 7 (f0.png): box'),
        ({'id': 7, 'image_id': 9, 'bbox': BOX}, 'annotation 7: there is no image 9'),
        ({'id': 7, 'image_id': 1}, 'annotation 7 (f0.png): there is neither a bbox nor a polygon'),
    ],
)
def test_faulty_annotations(run_here, images, tmp_path, annotation, problem):
    entry = {'id': 1, 'file_name': 'f0.png', 'width': 160, 'height': 120}
    path = write_json(tmp_path / 'faulty.json', {'images': [entry], 'annotations': [annotation]})
    result = run_here('heatmap', images / 'images/f0.png', '--variant', 'pointed', '--regions', path)
    assert result.code == 2
    assert f'{path}: {problem}' in result.err


# --- Evaluation


def test_evaluation(run_here, images, tmp_path):
    """A map of the truth is perfect; a second call reads the rows and adds a variant."""
    truth, second = boxes(tmp_path, 'truth.json'), boxes(tmp_path, 'b.json', (0.25, 0.2, 0.7, 0.6))
    folder = tmp_path / 'perfect'
    folder.mkdir()
    mask = np.zeros((120, 160), np.float32)
    mask[24:72, 32:96] = 1
    for number in range(3):
        np.save(folder / f'f{number}.npy', mask)
    options = ('--truth', truth, '--second', second, '--maps', folder, '--out', tmp_path / 'out')
    result = run_here('evaluate-maps', images / 'images', *options)
    assert result.code == 0, result.err
    rows = {row['variant']: row for row in table(tmp_path / 'out/table.csv')}
    assert [float(rows['perfect'][name]) for name in ('n', 'auroc', 'ap', 'hit')] == [3, 1, 1, 1]
    assert float(rows['second annotator']['auroc']) > 0.9
    assert float(rows['constant']['auroc']) == 0.5
    first = table(tmp_path / 'out/rows.csv')

    options += ('--variants', 'pointed', '--regions', second)
    result = run_here('evaluate-maps', images / 'images', *options)
    assert result.code == 0, result.err
    more = table(tmp_path / 'out/rows.csv')
    assert [row for row in more if row in first] == first
    assert {row['variant'] for row in more} - {row['variant'] for row in first} == {
        'pointed',
        'pointed, shuffled',
    }


def test_evaluation_against_masks(run_here, images, tmp_path):
    masks = tmp_path / 'masks'
    masks.mkdir()
    mask = np.zeros((120, 160), np.uint8)
    mask[24:72, 32:96] = 255
    Image.fromarray(mask).save(masks / 'f1.png')
    options = ('--truth', masks, '--variants', 'pointed', '--regions', boxes(tmp_path), '--json')
    result = run_here('evaluate-maps', images / 'images', *options)
    assert result.code == 0, result.err
    rows = {row['variant']: row for row in json.loads(result.out)}
    assert (rows['pointed']['n'], rows['pointed']['hit']) == (1, 1)
    assert rows['pointed']['auroc'] > 0.95


def test_rows_of_another_truth_are_kept(run_here, images, tmp_path):
    """Results are not mixed; --overwrite starts again."""
    truth, other = boxes(tmp_path, 'truth.json'), boxes(tmp_path, 'other.json')
    folder = tmp_path / 'maps'
    folder.mkdir()
    np.save(folder / 'f0.npy', np.zeros((120, 160), np.float32))
    options = ('--maps', folder, '--out', tmp_path / 'out')
    assert run_here('evaluate-maps', images / 'images', '--truth', truth, *options).code == 0
    result = run_here('evaluate-maps', images / 'images', '--truth', other, *options)
    assert (result.code, 'was written by an evaluation against' in result.err) == (2, True)
    assert run_here('evaluate-maps', images / 'images', '--truth', other, '--overwrite', *options).code == 0
