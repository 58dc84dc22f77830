"""Random tables, options, answers of models and boxes are read, or refused in one line, without a traceback.

The examples are the same in each run; with `derandomize=False` below, others are tried.
"""

import inspect
import json
import math
import os
import signal
import typing
from pathlib import Path

import pandas as pd
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from system import noise
from typer.testing import CliRunner

from realness.cli import app
from realness.config import RealnessError
from realness.data import check_split, load_split
from realness.describe.answer_json import find_json
from realness.describe.answers import STATUSES
from realness.describe.box_convention import BoxEvidence, recognise_convention
from realness.describe.boxes import BOX_SCALES, ORDERS, BoxConvention, box_problem, read_boxes, to_regions
from realness.describe.describer import RejectedImageError, Reply, RetryableError
from realness.describe.endpoints import Endpoint
from realness.describe.inquiry import make_inquiry
from realness.describe.options import DescribeOptions
from realness.inputs import read_descriptions
from realness.regions import (
    Region,
    RegionImage,
    coco_document,
    read_regions,
    regions_from_cell,
    regions_to_cell,
)

EXAMPLES = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FEW = settings(EXAMPLES, max_examples=25)
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, -1, 10**400, 1e308, -1e308, math.nan, math.inf, True])
)
TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(TEXT, part, max_size=4),
    max_leaves=12,
)


# ---- Tables

CELLS = st.one_of(
    st.sampled_from(
        ['r0.png', 'f1.png', '', ' ', 'nan', 'inf', '1e999', '-0', '0x10', '1,5', '１', '../a.png']
    ),
    st.floats().map(str),
    st.text(max_size=12),
)
HEADERS = st.lists(
    st.sampled_from(['filename', 'MOS', 'description', 'regions', 'rating', ' MOS', '\ufefffilename', 'mos'])
    | st.text(max_size=8),
    max_size=5,
)
ENCODINGS = st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16', 'latin-1', 'cp1252', 'utf-32'])


@pytest.fixture(scope='module')
def split(tmp_path_factory):
    """A split with two images; the tests write its table."""
    folder = tmp_path_factory.mktemp('split')
    (folder / 'images').mkdir()
    for name in ('r0.png', 'f1.png'):
        noise(0, (32, 24)).save(folder / 'images' / name)
    return folder


@st.composite
def tables(draw):
    """The bytes of a table: random columns and cells, another encoding, sometimes cut."""
    header = draw(HEADERS | st.just(['filename', 'MOS', 'description']))
    rows = draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), max_size=4))
    raw = pd.DataFrame(rows, columns=None).to_csv(index=False, header=header if rows else False)
    text = raw if rows else ','.join(header) + '\n'
    encoded = text.encode(draw(ENCODINGS), errors='replace')
    return encoded[: draw(st.integers(0, len(encoded)))] if draw(st.booleans()) else encoded


@EXAMPLES
@given(tables() | st.binary(max_size=80))
def test_tables(split, raw):
    (split / 'image_descriptions.csv').write_bytes(raw)
    _, problems = check_split(split)
    errors = problems[problems.level == 'error']
    assert errors.problem.str.len().gt(0).all()
    assert errors.fix.str.len().gt(0).all()
    try:
        table = load_split(split)
        assert errors.empty
        assert table.MOS.map(math.isfinite).all()
    except RealnessError as error:
        assert len(errors)
        assert 'image_descriptions.csv' in str(error) or str(split) in str(error)


@EXAMPLES
@given(tables() | st.binary(max_size=80))
def test_tables_of_descriptions(split, raw):
    path = split / 'texts.csv'
    path.write_bytes(raw)
    try:
        read_descriptions(path)
    except RealnessError as error:
        assert 'texts.csv' in str(error)


@FEW
@given(st.binary(max_size=200), st.booleans())
def test_parquet_tables(split, raw, has_magic):
    path = split / 'texts.parquet'
    path.write_bytes(b'PAR1' + raw + b'PAR1' if has_magic else raw)
    try:
        read_descriptions(path)
    except RealnessError as error:
        assert 'texts.parquet' in str(error)


# ---- Options


def commands(entry, path=()):
    """(words, command) of all commands."""
    if hasattr(entry, 'commands'):
        for name, part in entry.commands.items():
            yield from commands(part, (*path, name))
    else:
        yield path, entry


def is_numeric(annotation) -> bool:
    """Whether an annotation allows a number."""
    parts = typing.get_args(annotation)
    return annotation in (int, float) or any(map(is_numeric, parts))


def numeric_options() -> list:
    """(words of a command, numeric option) of all commands."""
    found = []
    for words, entry in commands(typer.main.get_command(app)):
        annotations = inspect.signature(entry.callback).parameters
        for parameter in entry.params:
            if parameter.name in annotations and is_numeric(annotations[parameter.name].annotation):
                found.append((' '.join(words), parameter.opts[0]))
    return found


INPUTS = {  # command -> arguments with which it ends before it computes anything
    'predict': 'nowhere nowhere.png',
    'heatmap': 'nowhere.zip',
    'describe': 'nowhere.png --base-url http://127.0.0.1:9/v1',
    'explore': 'nowhere',
    'app': 'nowhere',
    'evaluate-maps': 'nowhere --truth nowhere.json',
    'demo': '--out file/run',
    'data demo': '--photos nowhere',
    'clip fit': '--data nowhere',
    'localizer fit': '--photos nowhere',
}
OPTIONS = numeric_options()
VALUES = st.one_of(
    st.sampled_from(
        ['-1', '0', 'nan', 'inf', '-inf', '1e999', '-1e308', '1' * 400, '', ' ', '1_0', '０', '--', '1,5']
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=['Cs']), max_size=12),
)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder with a file that is no folder, as working and base folder."""
    (tmp_path / 'file').touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PROJECT_ROOT', str(tmp_path))
    monkeypatch.setenv('REALNESS_CACHE', str(tmp_path / 'cache'))


def run_with(command: str, option: str, value: str):
    """The result of a command with a value of an option, given as one word."""
    result = CliRunner().invoke(
        app, [*command.split(), *INPUTS.get(command, '').split(), f'{option}={value}']
    )
    assert result.exit_code == 2, (command, option, value, result.output, result.exception)
    assert 'Traceback' not in result.output
    return result


def test_every_command_with_numbers_is_tried():
    assert len(OPTIONS) > 40
    assert {'predict', 'train', 'lab', 'describe', 'clip fit'} <= {command for command, _ in OPTIONS}


@settings(EXAMPLES, max_examples=80)
@given(st.sampled_from(OPTIONS), VALUES)
def test_options(elsewhere, option, value):
    run_with(*option, value)


@pytest.mark.parametrize(('command', 'option'), OPTIONS)
def test_senseless_numbers_are_refused_by_name(elsewhere, command, option):
    for value in ('nan', 'inf', '-7', '9' * 20, '1e400', 'text'):
        result = run_with(command, option, value)
        assert option in result.output or option[2:].replace('-', '_') in result.output, result.output


# ---- Paths


@pytest.fixture
def at_once():
    """Fails a test that waits for a pipe."""

    def stop(number, frame):
        raise AssertionError('waits without end')

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(40)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


READ = {  # command that reads PATH -> the kinds of PATH with which it cannot succeed
    'describe photo.png --fallback --prompt PATH': ('missing', 'folder', 'pipe'),
    'predict PATH photo.png': ('missing', 'folder', 'pipe', 'noise'),
    'predict nowhere PATH': ('missing', 'folder', 'pipe', 'noise'),
    'heatmap photo.png --data PATH': ('missing', 'folder', 'pipe', 'noise'),
    'heatmap photo.png --variant learned --localizer PATH': ('missing', 'folder', 'pipe', 'noise'),
    'heatmap photo.png --variant pointed --regions PATH': ('missing', 'folder', 'pipe', 'noise'),
    'evaluate-maps photo.png --truth PATH': ('missing', 'folder', 'pipe', 'noise'),
    'explore PATH --share-dir out': ('missing', 'folder'),
    'explore photo.png --run PATH --share-dir out': ('missing', 'folder', 'pipe', 'noise'),
    'train --data PATH --encoders lite --out out': ('missing', 'folder', 'pipe', 'noise'),
    'lab PATH --encoders lite --out out': ('missing', 'folder', 'pipe', 'noise'),
    'data check PATH': ('missing', 'folder', 'pipe', 'noise'),
    'data spreadsheet PATH --out out.csv': ('missing', 'folder', 'pipe'),
    'data imagefolder PATH --out out': ('missing', 'folder', 'pipe', 'noise'),
    'localizer fit --photos PATH --out out': ('missing', 'folder', 'pipe', 'noise'),
    'localizer fit --architecture network --parts PATH --out out': ('missing', 'folder', 'pipe', 'noise'),
    'export --localizer PATH --onnx out': ('missing', 'folder', 'pipe', 'noise'),
}
WRITE = {  # command that writes a file or a folder PATH -> the kinds of PATH that cannot be written
    'predict run photo.png --csv PATH': ('folder', 'pipe'),
    'describe photo.png --fallback --csv PATH': ('folder', 'pipe'),
    'describe photo.png --fallback --coco PATH': ('folder', 'pipe'),
    'data check photo.png --suggest PATH': ('folder', 'pipe'),
    'data demo --out PATH': ('noise', 'pipe', 'folder'),
    'explore photo.png --share-dir PATH': ('noise', 'pipe', 'folder'),
}
PATHS = [(command, kind) for command, kinds in (READ | WRITE).items() for kind in kinds]


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes of Unix')
@pytest.mark.parametrize(('command', 'kind'), PATHS)
def test_paths_of_another_kind(elsewhere, at_once, command, kind):
    noise(0, (32, 24)).save('photo.png')
    path = Path('path.csv')
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
        (path / 'notes.txt').write_text('not an image')
    elif kind == 'noise':
        path.write_bytes(b'hello\x00\xff')
    result = CliRunner().invoke(app, command.replace('PATH', str(path)).split())
    assert result.exit_code in (1, 2), (result.output, result.exception)
    assert 'Traceback' not in result.output
    assert 'fault of realness' not in result.output
    assert not Path('out').exists()
    assert path.exists() == (kind != 'missing')


# ---- Answers of models

INQUIRY = make_inquiry('judgement', DescribeOptions())
ANSWERS = st.one_of(
    TEXT,
    JSON.map(json.dumps),
    JSON.map(repr),
    st.dictionaries(
        st.sampled_from(['answer', 'description', 'rating', 'regions', 'Regions']), JSON, max_size=4
    ).flatmap(lambda value: st.sampled_from([json.dumps(value), repr(value), json.dumps(value)[:-1]])),
    st.lists(
        st.sampled_from(['{', '}', '[', ']', '"', ':', ',', "'", 'rating', '1', '```json', '<think>', '\\'])
    ).map(''.join),
)


@settings(EXAMPLES, max_examples=200)
@given(ANSWERS)
def test_answers(text):
    value, repairs = find_json(text)
    assert value is None or all(isinstance(key, str) for key in value)
    assert isinstance(repairs, list)
    answer = INQUIRY.check(Reply(text))
    assert answer.status in STATUSES
    assert answer.rating is None or 0 <= answer.rating <= 100


@settings(EXAMPLES, max_examples=150)
@given(JSON | st.lists(st.dictionaries(st.sampled_from(['bbox_2d', 'box', 'label', 'severity', 'x0']), JSON)))
def test_lists_of_boxes(entries):
    boxes, problems = read_boxes(entries)
    regions, more = to_regions(boxes or [], BoxConvention(), (640, 480))
    recognise_convention([BoxEvidence(tuple(boxes or ()), (640, 480))])
    assert all(isinstance(problem, str) for problem in [*problems, *more])
    for region in regions or ():
        assert 0 <= region.x0 <= region.x1 <= 1
        assert 0 <= region.y0 <= region.y1 <= 1


class Server:
    """A client that answers every request with the same JSON."""

    def __init__(self, answer):
        self.answer = answer
        self.chat = self.completions = self

    def create(self, **request):
        from openai.types.chat import ChatCompletion

        return ChatCompletion.model_construct(**self.answer) if isinstance(self.answer, dict) else self.answer


@st.composite
def responses(draw):
    """The JSON of a response of a server, more or less as the protocol wants it."""
    message = draw(st.dictionaries(st.sampled_from(['content', 'refusal', 'role']), JSON, max_size=3) | JSON)
    choice = draw(st.fixed_dictionaries({'message': st.just(message), 'finish_reason': JSON}) | JSON)
    return draw(st.fixed_dictionaries({'choices': st.just([choice]), 'usage': JSON}) | JSON)


@FEW
@given(responses())
def test_responses_of_servers(answer):
    pytest.importorskip('openai')
    endpoint = Endpoint('http://127.0.0.1:9/v1', 'model')
    endpoint._client = Server(answer)
    try:
        reply = endpoint(Image.new('RGB', (8, 8)), 'How real?')
        assert isinstance(reply.text, str)
    except (RealnessError, RetryableError, RejectedImageError) as error:
        assert '127.0.0.1' in str(error)


# ---- Boxes

CORNERS = st.tuples(*4 * [st.integers(0, 1000)]).filter(
    lambda box: box[2] - box[0] > 5 and box[3] - box[1] > 5
)
SIZES = st.tuples(st.integers(200, 4000), st.integers(200, 4000))


@EXAMPLES
@given(CORNERS, SIZES, st.sampled_from(list(BOX_SCALES)), st.sampled_from(ORDERS))
def test_a_box_is_the_same_in_every_convention(corners, size, scale, order):
    fractions = [value / 1000 for value in corners]
    width, height = BOX_SCALES[scale].edges(size)
    values = [value * full for value, full in zip(fractions, (width, height) * 2, strict=True)]
    if order == 'yx':
        values = [values[1], values[0], values[3], values[2]]
    read = BoxConvention(scale, order).to_fractions(tuple(values), size)
    assert read == pytest.approx(fractions, abs=1e-9)
    assert box_problem(read) in ('', 'the whole image')


@EXAMPLES
@given(CORNERS, SIZES, st.sampled_from([1, 2, 3]), TEXT)
def test_regions_survive_tables_and_coco(tmp_path, corners, size, severity, label):
    region = Region(*(value / 1000 for value in corners), label=' '.join(label.split()), severity=severity)
    [read] = regions_from_cell(regions_to_cell((region,)))
    assert read == region
    path = tmp_path / 'regions.json'
    document = coco_document([RegionImage('a.png', *size, (region,))])
    path.write_text(json.dumps(document), encoding='utf-8')
    [[read]] = read_regions(path).values()
    for side, full in zip(('x0', 'y0', 'x1', 'y1'), size * 2, strict=True):
        assert getattr(read, side) == pytest.approx(getattr(region, side), abs=1.01 / full)
    assert (read.label, read.severity) == (region.label, severity)


IDS = st.sampled_from([1, 2, 'a', 1.5])
IMAGES = st.fixed_dictionaries(
    {'id': IDS, 'file_name': TEXT, 'width': NUMBERS | st.just(640), 'height': st.just(480)}
)
ANNOTATIONS = st.fixed_dictionaries(
    {'image_id': IDS},
    optional={
        'category_id': JSON,
        'bbox': st.lists(NUMBERS, max_size=5) | JSON,
        'segmentation': st.lists(st.lists(NUMBERS, max_size=8), max_size=2) | JSON,
        'attributes': JSON | st.fixed_dictionaries({'severity': JSON, 'note': JSON}),
        'severity': JSON,
        'label': JSON,
    },
)
COCO = st.fixed_dictionaries(
    {
        'images': st.lists(IMAGES, max_size=3) | JSON,
        'annotations': st.lists(ANNOTATIONS, max_size=3) | JSON,
        'categories': st.lists(st.fixed_dictionaries({'id': IDS, 'name': TEXT}), max_size=2) | JSON,
    }
)


@settings(EXAMPLES, max_examples=150)
@given(JSON | COCO)
def test_files_of_regions(tmp_path, value):
    path = tmp_path / 'regions.json'
    path.write_text(json.dumps(value), encoding='utf-8')
    try:
        read_regions(path)
    except RealnessError as error:
        assert 'regions.json' in str(error)


ENTRIES = st.fixed_dictionaries(
    {'box': st.lists(st.floats(0, 1), min_size=4, max_size=4).map(sorted) | JSON},
    optional={'label': JSON, 'severity': JSON, 'outline': JSON, 'note': JSON},
)


@settings(EXAMPLES, max_examples=150)
@given(st.lists(ENTRIES, max_size=3) | JSON)
def test_cells_of_regions(value):
    try:
        regions = regions_from_cell(json.dumps(value))
    except RealnessError:
        return
    assert regions_from_cell(regions_to_cell(regions)) is not None
