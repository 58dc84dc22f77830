"""Add the demo that maps images in the browser to a rendered site.

    python .ci/live_demo.py          # to _site/, as `python .ci/site.py` does
    python .ci/live_demo.py FOLDER   # to another rendered site, such as _docs of `nbdev_docs`

The scripts of the demo are in `nbs/live/`. This command adds the exported localizer, ONNX Runtime for the web
(npm package onnxruntime-web) and three examples. They are cached, as they change rarely. Without npm, the
network or the extra `onnx` the page says that it was built without the demo.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / 'nbs' / 'live'
RUNTIME = 'onnxruntime-web@1.23.2'
RUNTIME_FILES = ('ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm')
NPM_SECONDS = 60
# without npm or a network; of a damaged package, or one without the files
NOT_FETCHED = (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError, ValueError)
EXAMPLES = (  # photograph, planted defect, box (x, y, width, height in shares), label
    ('chelsea', None, None, 'A photograph'),
    ('coffee', 'swirl', (0.32, 0.12, 0.36, 0.5), 'A twisted cup'),
    ('china', 'smear', (0.3, 0.3, 0.35, 0.35), 'A smeared temple'),
)


def fetch_runtime(folder: Path):
    """Copy the files of ONNX Runtime from npm. Raises one of `NOT_FETCHED`."""
    with tempfile.TemporaryDirectory() as temporary:
        command = ['npm', 'pack', '--silent', '--ignore-scripts', RUNTIME]
        subprocess.run(command, cwd=temporary, check=True, capture_output=True, timeout=NPM_SECONDS)
        [archive] = Path(temporary).glob('*.tgz')
        with tarfile.open(archive) as package:
            for name in RUNTIME_FILES:
                (folder / name).write_bytes(package.extractfile(f'package/dist/{name}').read())


def write_examples(folder: Path) -> list[dict]:
    """Photographs with planted defects as JPEG files; returns their names and labels."""
    import numpy as np
    from PIL import Image

    from realness.defects.planted import plant
    from realness.photographs import photographs

    photos = {photo.name: photo for photo in photographs()}
    entries = []
    for name, kind, box, label in EXAMPLES:
        image = photos[name].open()
        image.thumbnail((640, 640))
        if kind:
            width, height = image.size
            box = tuple(int(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
            planted = plant(np.asarray(image), kind, box, 1.0, np.random.default_rng(1))
            image = Image.fromarray(planted.image)
        file = f'example_{name}.jpg'
        image.save(folder / file, quality=90)
        entries.append(dict(file=file, label=label))
    return entries


def colours() -> list:
    """The 256 colours of maps: red, green and blue in 0-255."""
    from matplotlib import colormaps

    return (colormaps['inferno'](range(256))[:, :3] * 255).round().astype(int).tolist()


def input_digest() -> str:
    """A digest of what the files of the demo are made from."""
    weights = ROOT / 'realness' / 'weights' / 'localizer-network' / 'localizer.json'
    exporter = ROOT / 'realness' / 'localization' / 'export_localizer.py'
    digest = hashlib.sha256(RUNTIME.encode())
    for path in (Path(__file__), weights, exporter):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def make(folder: Path):
    """Write all files that are not in the repository to a new folder."""
    from realness.localization.export_localizer import export_localizer

    with tempfile.TemporaryDirectory() as temporary:
        fetch_runtime(Path(temporary))  # first, as it may fail
        export_localizer('network', folder)  # into an empty folder
        shutil.copytree(temporary, folder, dirs_exist_ok=True)
    content = dict(colours=colours(), examples=write_examples(folder), runtime=RUNTIME)
    (folder / 'live.json').write_text(json.dumps(content), encoding='utf-8')


def cached_files() -> Path:
    """The folder of the files of the demo, made at the first call. Raises what `make` raises."""
    from realness.config import atomic_write, cache_dir

    folder = cache_dir('live-demo') / input_digest()
    if not folder.is_dir():
        with atomic_write(folder) as partial:
            partial.mkdir(parents=True)
            make(partial)
    return folder


def add_to(site: Path) -> str:
    """Add the demo to a rendered site; returns a line about it."""
    from realness.config import RealnessError

    target = site / 'live'
    shutil.copytree(SCRIPTS, target, dirs_exist_ok=True)
    try:
        shutil.copytree(cached_files(), target, dirs_exist_ok=True)
    except (*NOT_FETCHED, ImportError, RealnessError) as error:
        (target / 'live.json').write_text('{}', encoding='utf-8')  # the page says that there is no demo
        return f'The site has no live demo: {error}'
    size = sum(path.stat().st_size for path in site.rglob('*') if path.is_file()) / 1e6
    return f'The site has the live demo; {size:.1f} MB in total.'


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('site', nargs='?', type=Path, default=ROOT / '_site', help='a rendered site')
    site = parser.parse_args().site
    if not site.is_dir():
        raise SystemExit(f'{site}: no such folder; render the site first')
    print(add_to(site))
    return 0


if __name__ == '__main__':
    sys.exit(main())
