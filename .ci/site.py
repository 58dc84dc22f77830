"""Render the documentation without Quarto and check every link.

    python .ci/site.py          # write _site/ and check it; _site/ is reused if no file has changed
    python .ci/site.py --fresh  # render even if no file has changed
    python .ci/site.py --check  # check the existing _site/ without rendering

nbdev prepares the notebooks, and smalldocs renders them with the same `_quarto.yml`. The public site is
rendered by `nbdev_docs` with Quarto.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from html import unescape
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

from live_demo import add_to as add_live_demo
from slim_site import MOST_MB, megabytes, slim

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / '_site_src'
SITE = ROOT / '_site'
DIGEST_FILE = SITE / 'made-from.txt'  # the digest of the input files of a site without problems
NOTEBOOK_LINK = re.compile(r'(\]\()((?!\w+:)[^)\s#]*\.ipynb)')  # [text](000_config.ipynb#place)
CSS_LOAD = re.compile(r'(?:@import\s+|url\()\s*["\']?((?:https?:)?//[^"\')\s]+)')
# Markdown or HTML that a reader would see as it is, in text outside of code
RAW_MARKUP = re.compile(r'\]\([^)\s]+\.(?:ipynb|qmd|md|html)\b|</?(?:table|thead|tbody|tr|th|td|div|style)\b')
DATA_FRAME = 'class="dataframe"'  # in the HTML of a pandas table
CODE = ('code', 'pre', 'script', 'style')
HIDDEN = re.compile(r'^#\| *(?:hide$|(?:output|include): *false)', re.M)  # cells without a visible output
LOADING_ATTRIBUTES = {
    'script': ('src',),
    'img': ('src', 'srcset'),
    'iframe': ('src',),
    'source': ('src', 'srcset'),
    'video': ('src', 'poster'),
    'audio': ('src',),
    'embed': ('src',),
    'object': ('data',),
}


# ---- Render


def prepare_notebooks() -> Path:
    """A new folder with the notebooks as nbdev prepares them for Quarto."""
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs

    os.environ['PYTHONWARNINGS'] = 'ignore'  # `notebooks.py --check` reports the same by cell
    with redirect_stdout(StringIO()):
        refresh_quarto_yml()
    for old in (ROOT / '_proc', SOURCE):
        shutil.rmtree(old, ignore_errors=True)
    try:
        prepared = Path(proc_nbs('nbs', n_workers=min(2, os.cpu_count() or 1)))
    except Exception as error:
        pattern = r'^\w*(?:Error|Exception|Interrupt)\b.*'
        reasons = re.findall(pattern, str(error.__cause__), re.M)
        reason = reasons[0] if reasons else ''
        raise SystemExit(f'nbdev could not prepare a notebook: {error}\n{reason}') from error
    shutil.copytree(prepared, SOURCE)
    return SOURCE


def join_text(text) -> str:
    """Text that a notebook may store as a list of lines."""
    return ''.join(text) if isinstance(text, list) else text


def page_name(path: Path) -> str:
    """The name that Quarto gives the page of a notebook; nbdev writes it as `output-file`."""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    if not cells:
        return path.stem
    match = re.search(r'^output-file: *(\S+)\.html$', join_text(cells[0]['source']), re.M)
    return match[1] if match else path.stem


def relink(text: str, path: Path, names: dict) -> str:
    """A Markdown text of the notebook `path` with links to the renamed notebooks."""

    def renamed(match):
        new = names.get((path.parent / unquote(match[2])).resolve())
        return match[1] + (os.path.relpath(new, path.parent) if new else match[2])

    return NOTEBOOK_LINK.sub(renamed, text)


def rename_notebook(old: Path, names: dict, folder: Path, hosted: str):
    """Write one notebook under the name of its page, with links to the pages beside it."""
    notebook = json.loads(old.read_text(encoding='utf-8'))
    cells = notebook['cells']
    for cell in cells:
        cell['source'] = join_text(cell['source'])
        if cell['cell_type'] == 'markdown':
            cell['source'] = relink(cell['source'], old, names)
    if cells and cells[0]['cell_type'] == 'raw':
        cells[0]['source'] = re.sub(r'^output-file:.*\n', '', cells[0]['source'], flags=re.M)
    old.unlink()
    new = names[old]
    to_top = '../' * len(new.relative_to(folder).parent.parts)
    # nbdev links to the hosted site; here the pages lie beside each other
    new.write_text(json.dumps(notebook, ensure_ascii=False).replace(hosted, to_top), encoding='utf-8')


def rename_pages(folder: Path, hosted: str) -> dict[str, str]:
    """Rename all notebooks to their pages; return {old path: new path} relative to `folder`."""
    notebooks = sorted(folder.rglob('*.ipynb'))
    names = {path: path.with_name(page_name(path) + '.ipynb') for path in notebooks}
    for page, count in Counter(names.values()).items():
        if count > 1:
            same = ', '.join(sorted(path.name for path in notebooks if names[path] == page))
            raise SystemExit(f'{same}: notebooks with one page name; rename one')
    for old in notebooks:
        rename_notebook(old, names, folder, hosted)
    return {
        old.relative_to(folder).as_posix(): new.relative_to(folder).as_posix() for old, new in names.items()
    }


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches a pattern such as `/0*.ipynb`; `*` does not match a slash."""
    parts = pattern.lstrip('/').split('**')
    expression = '.*'.join('[^/]*'.join(map(re.escape, part.split('*'))) for part in parts)
    return bool(re.fullmatch(expression, path))


def pages_of_patterns(patterns, names: dict[str, str]) -> list:
    """The pages that the `auto` patterns of a sidebar entry name."""
    patterns = patterns if isinstance(patterns, list) else [patterns]
    return [new for pattern in patterns for old, new in sorted(names.items()) if matches(old, pattern)]


def expand_sidebar(items: list, names: dict[str, str]) -> list:
    """Sidebar entries with their pages in place of `auto` patterns, without empty sections."""
    expanded = []
    for item in items:
        if isinstance(item, str):
            expanded.append(names.get(item, item))
        elif 'auto' in item:
            expanded += pages_of_patterns(item['auto'], names)
        elif 'contents' in item:
            contents = expand_sidebar(item['contents'], names)
            if contents:
                expanded.append({**item, 'contents': contents})
        else:
            expanded.append({**item, 'href': names.get(item['href'], item['href'])})
    return expanded


def draw_formulas(html: str) -> str:
    """A page with MathML, which browsers draw without a library, in place of TeX and KaTeX."""
    from latex2mathml.converter import convert

    def mathml(match):
        display = 'block' if match[1] == 'display' else 'inline'
        return convert(unescape(match[2].strip()[2:-2]), display=display)

    html = re.sub(r'<link [^>]*katex[^>]*>|<script [^>]*katex[^>]*></script>', '', html)
    return re.sub(r'<span class="math (inline|display)">(.*?)</span>', mathml, html, flags=re.S)


def input_files() -> list[Path]:
    """Every input file of the site."""
    files = [
        *(ROOT / 'nbs').rglob('*.ipynb'),
        *(ROOT / 'nbs').rglob('*.qmd'),
        *(ROOT / 'nbs').glob('*.css'),
        *(ROOT / 'nbs').glob('*.html'),
        *(ROOT / 'nbs' / 'live').iterdir(),
        *(ROOT / 'realness').rglob('*.py'),
    ]
    files += [ROOT / '_quarto.yml', ROOT / 'settings.ini']
    files += [ROOT / '.ci' / name for name in ('site.py', 'slim_site.py', 'live_demo.py')]
    return sorted(path for path in files if '.ipynb_checkpoints' not in path.parts)


def input_digest() -> str:
    """A digest of all input files of the site."""
    digest = hashlib.sha256()
    for path in input_files():
        digest.update(f'{path.resolve().relative_to(ROOT)}\0'.encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_fresh() -> bool:
    """Whether the existing site was made from the current input files."""
    return DIGEST_FILE.is_file() and DIGEST_FILE.read_text() == input_digest()


def write_quarto_config(folder: Path, names: dict[str, str]):
    """Adapt `_quarto.yml` to smalldocs."""
    import yaml

    path = folder / '_quarto.yml'
    config = yaml.safe_load(path.read_text(encoding='utf-8'))
    config['format']['html'].pop('html-math-method', None)
    sidebar = config['website']['sidebar']
    sidebar['contents'] = expand_sidebar(sidebar['contents'], names)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding='utf-8')


def render() -> int:
    """Write `_site/`; return the number of warnings of smalldocs."""
    from nbdev.config import get_config

    config = get_config()
    folder = prepare_notebooks()
    names = rename_pages(folder, f'{config.doc_host}{config.doc_baseurl}/')
    write_quarto_config(folder, names)
    command = [sys.executable, '-m', 'smalldocs.cli', 'render', '--quiet', folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    print(done.stderr, end='')
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(folder / config.doc_path.name, SITE)
    shutil.rmtree(folder)
    print(add_live_demo(SITE))
    for path in SITE.rglob('*.html'):
        path.write_text(draw_formulas(path.read_text(encoding='utf-8')), encoding='utf-8')
    slim(SITE)
    return len(done.stderr.splitlines())


# ---- Check


class Page(HTMLParser):
    """Anchors (ids), links, loaded files (loads), silent images, tables and raw markup of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids = set()
        self.links = []
        self.loads = []
        self.silent_images = 0  # without the attribute alt, which screen readers read
        self.tables = 0  # of pandas
        self.raw = []  # markup that is shown as text
        self.in_style = False
        self.code_depth = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = {name: value for name, value in attrs if value}
        self.ids.update(attributes[name] for name in ('id', 'name') if name in attributes)
        self.in_style = tag == 'style'
        self.code_depth += tag in CODE
        self.tables += tag == 'table' and 'dataframe' in attributes.get('class', '').split()
        self.silent_images += tag == 'img' and 'alt' not in dict(attrs)
        if tag == 'a' and 'href' in attributes:
            self.links.append(attributes['href'])
        if tag == 'link' and 'href' in attributes and attributes.get('rel') != 'canonical':
            self.loads.append(attributes['href'])
        for name in LOADING_ATTRIBUTES.get(tag, ()):
            self.loads += self.files_of(name, attributes.get(name, ''))
        self.loads += CSS_LOAD.findall(attributes.get('style', ''))

    def handle_endtag(self, tag):
        self.code_depth -= tag in CODE

    @staticmethod
    def files_of(name: str, value: str) -> list[str]:
        """The files that an attribute names; `srcset` names several, each with a size."""
        if name == 'srcset':
            return [part.split()[0] for part in value.split(',') if part.strip()]
        return [value] if value else []

    def handle_data(self, data):
        if self.in_style:
            self.loads += CSS_LOAD.findall(data)
        if not self.code_depth:
            self.raw += RAW_MARKUP.findall(data)
        elif DATA_FRAME in data and not self.in_style:
            self.raw.append(DATA_FRAME)


def is_external(url: str) -> bool:
    """Whether a URL leads to another host."""
    return url.startswith('//') or urlsplit(url).scheme in ('http', 'https')


def target_file(site: Path, page: Path, path: str) -> Path:
    """The file to which a local path on a page leads."""
    if not path:
        target = page
    elif path.startswith('/'):
        target = site / path.lstrip('/')
    else:
        target = page.parent / path
    return (target / 'index.html' if target.is_dir() else target).resolve()


def load_problem(site: Path, page: Path, url: str) -> str:
    """The problem of a file that a page loads; empty if there is none."""
    if is_external(url):
        return f'loads {url} from another host'
    if url.startswith(('data:', 'blob:')):
        return ''
    exists = target_file(site, page, unquote(urlsplit(url).path)).is_file()
    return '' if exists else f'loads {url}: no such file'


def link_problem(site: Path, page: Path, url: str, pages: dict[Path, Page]) -> str:
    """The problem of a link of a page; empty if there is none."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return ''
    target = target_file(site, page, unquote(parts.path))
    if not target.is_file():
        return f'links to {url}: no such file'
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
        return f'links to {url}: no such anchor'
    return ''


def page_problems(site: Path, path: Path, pages: dict[Path, Page]) -> list[str]:
    """Broken links and missing files of a page, each once."""
    page = pages[path]
    problems = [load_problem(site, path, url) for url in page.loads]
    problems += [link_problem(site, path, url, pages) for url in page.links]
    problems += [f'shows {markup} as text' for markup in page.raw]
    if page.silent_images:
        problems.append(f'{page.silent_images} images without a text; add #| fig-alt: "..." to the cell')
    return [problem for problem in dict.fromkeys(problems) if problem]


def expected_page(notebook: Path) -> str:
    """The name that nbdev gives the page of a notebook: the name of the notebook without its number."""
    return re.sub(r'^\d+[a-zA-Z0-9]*_', '', notebook.stem.lower()) + '.html'


def sidebar_problems(site: Path, notebooks: list[Path], pages: dict[Path, Page]) -> list[str]:
    """Notebooks that have no page, and pages that the sidebar does not list."""
    start = site.resolve() / 'index.html'
    links = pages[start].links if start in pages else []
    listed = {target_file(site, start, unquote(urlsplit(url).path)) for url in links if not is_external(url)}
    problems = []
    for notebook in notebooks:
        relative = notebook.resolve().relative_to(ROOT / 'nbs')
        page = (site / relative).with_name(expected_page(notebook)).resolve()
        if page not in pages:
            problems.append(f'{notebook.name}: has no page {page.name}')
        elif page not in listed:
            problems.append(f'{notebook.name}: its page is not in the sidebar')
    return problems


def count_tables(notebook: Path) -> int:
    """The number of visible outputs of a notebook that are tables of pandas."""
    count = 0
    for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells']:
        if cell['cell_type'] == 'code' and not HIDDEN.search(join_text(cell['source'])):
            outputs = [output.get('data', {}).get('text/html', '') for output in cell['outputs']]
            count += sum(DATA_FRAME in join_text(html) for html in outputs)
    return count


def table_problems(site: Path, notebooks: list[Path], pages: dict[Path, Page]) -> list[str]:
    """Pages that show fewer tables than their notebooks."""
    problems = []
    for notebook in notebooks:
        relative = notebook.resolve().relative_to(ROOT / 'nbs')
        page = pages.get((site / relative).with_name(expected_page(notebook)).resolve())
        expected = count_tables(notebook)
        if page and page.tables < expected:
            problems.append(f'{notebook.name}: its page shows {page.tables} of {expected} tables as tables')
    return problems


def site_problems(site: Path) -> tuple[list[str], str]:
    """All problems of a rendered site, and a summary line."""
    from nbdev.doclinks import nbglob

    paths = [path.resolve() for path in sorted(site.rglob('*.html'))]
    pages = {path: Page(path.read_text(encoding='utf-8')) for path in paths}
    problems = []
    for path in pages:
        name = path.relative_to(site.resolve())
        problems += [f'{name}: {problem}' for problem in page_problems(site, path, pages)]
    for css in site.rglob('*.css'):
        for url in CSS_LOAD.findall(css.read_text(encoding='utf-8')):
            problems.append(f'{css.relative_to(site)}: loads {url} from another host')
    notebooks = nbglob(path=ROOT / 'nbs', as_path=True)
    problems += sidebar_problems(site, notebooks, pages)
    problems += table_problems(site, notebooks, pages)
    links = sum(len(page.links) + len(page.loads) for page in pages.values())
    size = megabytes(site)
    if size > MOST_MB:
        problems.append(f'the site has {size:.1f} MB, more than {MOST_MB}')
    summary = f'{len(pages)} pages of {len(notebooks)} notebooks, {links} links and files checked'
    return problems, f'{summary}, {size:.1f} MB'


# ---- The command


def build(check_only: bool, fresh: bool) -> int:
    """Render if needed, check, print the result; 1 if there is a problem."""
    print('Quarto renders this documentation for its readers; smalldocs renders the same notebooks here.')
    reuse = check_only or (is_fresh() and not fresh)
    digest = input_digest()
    warnings = 0
    if not reuse:
        warnings = render()
    elif not check_only:
        print('Nothing has changed since the site was rendered.')
    problems, summary = site_problems(SITE)
    for problem in problems:
        print(problem)
    print(f'{summary}: {len(problems)} problems, {warnings} warnings')
    if not reuse and not problems and not warnings:
        DIGEST_FILE.write_text(digest)
    return bool(problems or warnings)


def main() -> int:
    from filelock import FileLock

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='render nothing')
    parser.add_argument('--fresh', action='store_true', help='render even if nothing has changed')
    options = parser.parse_args()
    os.chdir(ROOT)
    name = hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f'realness-site-{name}.lock'):
        return build(options.check, options.fresh)


if __name__ == '__main__':
    sys.exit(main())
