"""README.md is the index notebook, as text: this writes it and checks it, without Quarto.

python .ci/readme.py                # write README.md and the images it shows
python .ci/readme.py --check        # exit 1 where README.md and the notebook say different things
python .ci/readme.py --command pip  # the command of README.md's `sh` blocks that starts with `pip`; needs no package
"""

import argparse
import base64
import difflib
import os
import re
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / 'README.md'
PICTURES = {'image/png': '.png', 'image/jpeg': '.jpg', 'image/svg+xml': '.svg'}


def command(start: str, text: str) -> str:
    "The first line that begins with the word `start` in the `sh` blocks of a markdown text."
    for block in re.findall(r'^``` ?\{?\.?(?:sh|bash)\}?\n(.*?)^```', text, re.M | re.S):
        for line in block.splitlines():
            if line.split()[:1] == [start]:
                return line.strip()
    raise SystemExit(f'README.md: no `sh` block has a line that starts with {start!r}')


def processed(fn: Path):
    "The notebook after nbdev's own processing: hidden cells gone, names linked to the documentation."
    from execnb.nbio import read_nb
    from nbdev.processors import FilterDefaults

    os.environ['IN_TEST'] = '1'
    nb = read_nb(fn)
    FilterDefaults()(nb)
    return nb


def text_of(x) -> str:
    return ''.join(x) if isinstance(x, list) else x


def front_matter(src: str) -> str:
    "The title and the description that nbdev lifted out of the first cell, as markdown again."
    import yaml

    found = yaml.safe_load(src.strip().strip('-')) or {}
    marks = {'title': '# ', 'description': '> '}
    return '\n\n'.join(mark + str(found[k]) for k, mark in marks.items() if k in found)


def output_md(out, name: str, pictures: dict) -> str:
    "One output as markdown: an image, markdown as it is, or text set in; image bytes go to `images`."
    data = out.get('data', {})
    for kind, end in PICTURES.items():
        if kind not in data:
            continue
        raw = text_of(data[kind])
        pictures[name + end] = raw.encode() if end == '.svg' else base64.b64decode(raw)
        return f'![]({name}{end})'
    if 'text/markdown' in data:
        return text_of(data['text/markdown'])
    plain = text_of(data.get('text/plain', out.get('text', ''))).rstrip()
    return '\n'.join(f'    {o}' for o in plain.splitlines())


def code_md(n: int, cell, pictures: dict) -> list[str]:
    "A code cell as markdown, by its `echo`, `output` and `include` options."
    src = text_of(cell.source)
    opts = dict(re.findall(r'^#\| *([\w-]+): *(\S+)', src, re.M))
    code = re.sub(r'^#\|.*\n?', '', src, flags=re.M).strip()
    if opts.get('include') == 'false':
        return []
    parts = [f'``` python\n{code}\n```'] if code and opts.get('echo') != 'false' else []
    if opts.get('output') != 'false':
        parts += [
            output_md(o, f'index_files/cell-{n}-output-{i}', pictures)
            for i, o in enumerate(cell.get('outputs', []), 1)
        ]
    return parts


def render(nb) -> tuple[str, dict]:
    "The whole README as (markdown, {image path: bytes})."
    parts, pictures = [], {}
    up = partial(
        re.sub, r'(\]\()((?!\w+:)[^)\s#]*\.(?:ipynb|jpg))', r'\1nbs/\2'
    )  # the README lies a folder above the notebooks
    for n, cell in enumerate(nb.cells, 1):
        if cell.cell_type == 'raw':
            parts.append(front_matter(text_of(cell.source)))
        elif cell.cell_type == 'markdown':
            parts.append(up(text_of(cell.source)))
        else:
            parts += code_md(n, cell, pictures)
    return '\n\n'.join(o.strip('\n') for o in parts if o.strip()) + '\n', pictures


def words(md: str) -> list[str]:
    "What a text says: Quarto wraps lines, escapes and names images its own way, and that does not count."
    md = re.sub(r'!\[\]\([^)]*\)', '![]', md)
    md = re.sub(r'^``` *\{?\.?(\w+)\}?', r'```\1', md, flags=re.M)
    return md.replace('\\', '').split()


def saved_pictures() -> list[Path]:
    return [o for o in (ROOT / 'index_files').rglob('*') if o.is_file()]


def check(md: str, pictures: dict) -> list[str]:
    "What differs between README.md with its images and the notebook."
    if not README.is_file():
        return ['README.md is missing']
    have = README.read_text(encoding='utf-8')
    wrong = []
    if words(have) != words(md):
        diff = difflib.unified_diff(
            have.splitlines(), md.splitlines(), 'README.md', 'nbs/index.ipynb', lineterm='', n=1
        )
        wrong.append('README.md does not say what nbs/index.ipynb says:\n' + '\n'.join(diff))
    shown = [ROOT / o for o in re.findall(r'!\[\]\(([^)]*)\)', have) if '://' not in o]
    wrong += [
        f'{o.relative_to(ROOT)}: README.md shows it, and it is not there' for o in shown if not o.is_file()
    ]
    if [o.read_bytes() for o in shown if o.is_file()] != list(pictures.values()):
        wrong.append('the images of README.md are not those of nbs/index.ipynb')
    links = re.findall(r'\]\(((?!\w+:|#)[^)\s]+)\)', have)
    wrong += [
        f'README.md links to {o}: no such file' for o in links if not (ROOT / o.partition('#')[0]).is_file()
    ]
    stray = set(saved_pictures()) - set(shown)
    return wrong + [f'{o.relative_to(ROOT)}: nothing shows it' for o in sorted(stray)]


def write(md: str, pictures: dict):
    "README.md and its images; images that nothing shows any more are removed."
    README.write_text(md, encoding='utf-8')
    for old in saved_pictures():
        old.unlink()
    for name, data in pictures.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_bytes(data)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--check', action='store_true', help='compare, write nothing')
    p.add_argument('--command', metavar='WORD', help='print the command that starts with WORD')
    a = p.parse_args()
    if a.command:
        print(command(a.command, README.read_text(encoding='utf-8')))
        return 0
    os.chdir(ROOT)
    md, pictures = render(processed(ROOT / 'nbs/index.ipynb'))
    if not a.check:
        write(md, pictures)
    wrong = check(md, pictures)
    for o in wrong:
        print(o)
    print(
        f'README.md: {len(md.splitlines())} lines, {len(pictures)} images, '
        + ('differs' if wrong else 'says what nbs/index.ipynb says')
    )
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
