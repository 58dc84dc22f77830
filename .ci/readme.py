"""Write README.md from nbs/index.ipynb, and check it, without Quarto.

python .ci/readme.py                # write README.md and the images it shows
python .ci/readme.py --check        # exit 1 if README.md and the notebook differ
python .ci/readme.py --command pip  # print the first `sh` command of README.md that starts with `pip`
"""

import argparse
import base64
import configparser
import difflib
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / 'README.md'
SUFFIXES = {'image/png': '.png', 'image/jpeg': '.jpg', 'image/svg+xml': '.svg'}
HOSTED = ('live_demo.ipynb',)  # pages that work on the site alone, not as notebooks on GitHub
RELATIVE_LINK = re.compile(r'(\]\()((?!\w+:)[^)\s#]*\.(?:ipynb|qmd|jpg|png|webp))')


def find_command(word: str, text: str) -> str:
    """The first line that begins with `word` in the `sh` blocks of a Markdown text."""
    for block in re.findall(r'^``` ?\{?\.?(?:sh|bash)\}?\n(.*?)^```', text, re.M | re.S):
        for line in block.splitlines():
            if line.split()[:1] == [word]:
                return line.strip()
    raise SystemExit(f'README.md: no `sh` block has a line that starts with {word!r}')


def processed_notebook(path: Path):
    """The notebook after the processing by nbdev: hidden cells removed, names linked to the documentation."""
    from execnb.nbio import read_nb
    from nbdev.processors import FilterDefaults

    os.environ['IN_TEST'] = '1'
    notebook = read_nb(path)
    FilterDefaults()(notebook)
    return notebook


def join_text(text) -> str:
    """Text that a notebook may store as a list of lines."""
    return ''.join(text) if isinstance(text, list) else text


def front_matter(source: str) -> str:
    """The title and the description that nbdev took from the first cell, as Markdown."""
    import yaml

    values = yaml.safe_load(source.strip().strip('-')) or {}
    lines = [
        prefix + str(values[key]) for key, prefix in (('title', '# '), ('description', '> ')) if key in values
    ]
    return '\n\n'.join(lines)


def output_markdown(output, name: str, alt: str, images: dict) -> str:
    """One output as Markdown: an image (its bytes go to `images`), Markdown, or indented text."""
    data = output.get('data', {})
    for kind, suffix in SUFFIXES.items():
        if kind in data:
            text = join_text(data[kind])
            images[name + suffix] = text.encode() if suffix == '.svg' else base64.b64decode(text)
            return f'![{alt}]({name}{suffix})'
    if 'text/markdown' in data:
        return join_text(data['text/markdown'])
    plain = join_text(data.get('text/plain', output.get('text', ''))).rstrip()
    return '\n'.join(f'    {line}' for line in plain.splitlines())


def code_markdown(number: int, cell, images: dict) -> list[str]:
    """A code cell as Markdown, following its `echo`, `output` and `include` options."""
    source = join_text(cell.source)
    options = dict(re.findall(r'^#\| *([\w-]+): *"?(.*?)"? *$', source, re.M))
    code = re.sub(r'^#\|.*\n?', '', source, flags=re.M).strip()
    parts = []
    if options.get('include') == 'false':
        return parts
    if code and options.get('echo') != 'false':
        parts.append(f'``` python\n{code}\n```')
    if options.get('output') != 'false':
        for i, output in enumerate(cell.get('outputs', []), 1):
            name = f'index_files/cell-{number}-output-{i}'
            parts.append(output_markdown(output, name, options.get('fig-alt', ''), images))
    return parts


def page_address(name: str) -> str:
    """The address of the page of a notebook on the site."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / 'settings.ini')
    host, base = (settings['DEFAULT'][key] for key in ('doc_host', 'doc_baseurl'))
    return f'{host}{base}/{name.removesuffix(".ipynb")}.html'


def link_from_readme(link: re.Match) -> str:
    """A link of the notebook as README.md has it, which lies one folder above the notebooks."""
    start, target = link.groups()
    return start + (page_address(target) if target in HOSTED else f'nbs/{target}')


def render(notebook) -> tuple[str, dict]:
    """The README as (Markdown, {image path: bytes})."""
    parts = []
    images = {}
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == 'raw':
            parts.append(front_matter(join_text(cell.source)))
        elif cell.cell_type == 'markdown':
            parts.append(RELATIVE_LINK.sub(link_from_readme, join_text(cell.source)))
        else:
            parts += code_markdown(number, cell, images)
    return '\n\n'.join(part.strip('\n') for part in parts if part.strip()) + '\n', images


def normalised_words(markdown: str) -> list[str]:
    """The words of a text; Quarto wraps lines, escapes and names images in its own way."""
    markdown = re.sub(r'!\[[^\]]*\]\([^)]*\)', '![]', markdown)
    markdown = re.sub(r'^``` *\{?\.?(\w+)\}?', r'```\1', markdown, flags=re.M)
    return markdown.replace('\\', '').split()


def saved_images() -> list[Path]:
    """The image files of README.md."""
    return [path for path in (ROOT / 'index_files').rglob('*') if path.is_file()]


def text_difference(text: str, markdown: str) -> list[str]:
    """One message with the difference between README.md and the notebook, if there is one."""
    if normalised_words(text) == normalised_words(markdown):
        return []
    lines = difflib.unified_diff(
        text.splitlines(), markdown.splitlines(), 'README.md', 'nbs/index.ipynb', lineterm='', n=1
    )
    return ['README.md and nbs/index.ipynb differ:\n' + '\n'.join(lines)]


def missing_addresses(text: str) -> list[tuple[str, str]]:
    """Files that lack the address of the repository in settings.ini, with what they should contain."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / 'settings.ini')
    url = settings['DEFAULT']['git_url']
    site = (ROOT / '_quarto.yml').read_text(encoding='utf-8')
    expected = [('README.md', text, f'git clone {url}'), ('_quarto.yml', site, f'href: {url}')]
    return [(name, address) for name, content, address in expected if address not in content]


def readme_problems(markdown: str, images: dict) -> list[str]:
    """Differences between README.md with its images and the notebook, and links to missing files."""
    if not README.is_file():
        return ['README.md is missing']
    text = README.read_text(encoding='utf-8')
    problems = text_difference(text, markdown)
    linked = [ROOT / path for path in re.findall(r'!\[[^\]]*\]\(([^)]*)\)', text) if '://' not in path]
    problems += [f'README.md shows {path.name}: no such file' for path in linked if not path.is_file()]
    outputs = [path for path in linked if path.is_file() and ROOT / 'nbs' not in path.parents]
    if [path.read_bytes() for path in outputs] != list(images.values()):
        problems.append('the images of README.md are not those of nbs/index.ipynb')
    for link in re.findall(r'\]\(((?!\w+:|#)[^)\s]+)\)', text):
        if not (ROOT / link.partition('#')[0]).is_file():
            problems.append(f'README.md links to {link}: no such file')
    problems += [f'{name}: does not name {url}' for name, url in missing_addresses(text)]
    unused = set(saved_images()) - set(linked)
    return problems + [f'{path.relative_to(ROOT)}: README.md does not show it' for path in sorted(unused)]


def write(markdown: str, images: dict):
    """Write README.md and its images; remove images that it does not show."""
    README.write_text(markdown, encoding='utf-8')
    for old in saved_images():
        old.unlink()
    for name, data in images.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='compare, write nothing')
    parser.add_argument('--command', metavar='WORD', help='print the command that starts with WORD')
    options = parser.parse_args()
    if options.command:
        print(find_command(options.command, README.read_text(encoding='utf-8')))
        return 0
    os.chdir(ROOT)
    markdown, images = render(processed_notebook(ROOT / 'nbs/index.ipynb'))
    if not options.check:
        write(markdown, images)
    problems = readme_problems(markdown, images)
    for problem in problems:
        print(problem)
    print(f'README.md: {len(markdown.splitlines())} lines, {len(images)} images, {len(problems)} problems')
    return bool(problems)


if __name__ == '__main__':
    sys.exit(main())
