"""The documentation as a site, without Quarto: nbdev's own processing, then smalldocs; then every link is followed.

    python .ci/site.py          # writes _site/ and checks it; a _site/ made from these very files is kept
    python .ci/site.py --anew   # renders in any case
    python .ci/site.py --check  # checks the _site/ that is there

`nbdev_docs` renders the same notebooks under the same `_quarto.yml` with Quarto, which is what readers get online.
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
from contextlib import redirect_stdout
from html import unescape
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT / '_site_src', ROOT / '_site'
MADE_FROM = SITE / 'made-from.txt'  # the digest of what a clean rendering was made from
NB_LINK = re.compile(r'(\]\()((?!\w+:)[^)\s#]*\.ipynb)')  # [text](000_config.ipynb#place)
LOADS = {
    'script': ('src',),
    'img': ('src', 'srcset'),
    'iframe': ('src',),
    'source': ('src', 'srcset'),
    'video': ('src', 'poster'),
    'audio': ('src',),
    'embed': ('src',),
    'object': ('data',),
}
CSS_LOAD = re.compile(r'(?:@import\s+|url\()\s*["\']?((?:https?:)?//[^"\')\s]+)')


# ---- rendering


def processed() -> Path:
    "A fresh folder of notebooks as nbdev prepares them for Quarto."
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs

    os.environ['PYTHONWARNINGS'] = 'ignore'  # what it would warn of, notebooks.py --check says by cell
    with redirect_stdout(StringIO()):
        refresh_quarto_yml()
    for old in (ROOT / '_proc', SOURCE):
        shutil.rmtree(old, ignore_errors=True)
    try:
        proc = Path(proc_nbs('nbs', n_workers=min(2, os.cpu_count() or 1)))
    except Exception as e:
        why = re.findall(r'^\w*(?:Error|Exception|Interrupt)\b.*', str(e.__cause__), re.M)
        raise SystemExit(
            f'nbdev could not prepare a notebook for the documentation: {e}\n{why[0] if why else ""}'
        )
    shutil.copytree(proc, SOURCE)
    return SOURCE


def text_of(x) -> str:
    return ''.join(x) if isinstance(x, list) else x


def page_name(fn: Path) -> str:
    "The file name that Quarto would give a page without its ending: nbdev says so in `output-file`."
    cells = json.loads(fn.read_text(encoding='utf-8'))['cells']
    m = re.search(r'^output-file: *(\S+)\.html$', text_of(cells[0]['source']), re.M) if cells else None
    return m[1] if m else fn.stem


def rename_pages(src: Path, hosted: str) -> dict[str, str]:
    "Name notebooks as their pages, and let links lead from page to page; {old path: new path} below `src`."
    found = sorted(src.rglob('*.ipynb'))
    names = {fn: fn.with_name(page_name(fn) + '.ipynb') for fn in found}
    if len(set(names.values())) < len(names):
        raise SystemExit(f'two notebooks would be one page: {sorted(o.name for o in names.values())}')
    for old, new in names.items():
        nb = json.loads(old.read_text(encoding='utf-8'))
        for c in nb['cells']:
            c['source'] = page_links(text_of(c['source']), c['cell_type'], old, names)
        if nb['cells'] and nb['cells'][0]['cell_type'] == 'raw':
            nb['cells'][0]['source'] = re.sub(r'^output-file:.*\n', '', nb['cells'][0]['source'], flags=re.M)
        old.unlink()
        # nbdev links to the hosted site; here the pages lie beside each other
        up = '../' * len(new.relative_to(src).parent.parts)
        new.write_text(json.dumps(nb, ensure_ascii=False).replace(hosted, up), encoding='utf-8')
    return {o.relative_to(src).as_posix(): n.relative_to(src).as_posix() for o, n in names.items()}


def page_links(text: str, kind: str, fn: Path, names: dict) -> str:
    "A markdown cell whose links to notebooks lead to their renamed files."

    def moved(m):
        new = names.get((fn.parent / unquote(m[2])).resolve())
        return m[1] + (os.path.relpath(new, fn.parent) if new else m[2])

    return NB_LINK.sub(moved, text) if kind == 'markdown' else text


def spelled_out(items: list, names: dict[str, str]) -> list:
    "Sidebar entries with every `auto` pattern replaced by the pages it means; empty sections left out."
    res = []
    for o in items:
        if isinstance(o, str):
            res.append(names.get(o, o))
        elif 'href' in o and 'contents' not in o:
            res.append({**o, 'href': names.get(o['href'], o['href'])})
        elif 'auto' in o:
            patterns = o['auto'] if isinstance(o['auto'], list) else [o['auto']]
            res += [
                new
                for p in patterns
                for old, new in sorted(names.items())
                if '/' + old == p or matches(old, p)
            ]
        elif inner := spelled_out(o.get('contents', []), names):
            res.append({**o, 'contents': inner})
    return res


def matches(path: str, pattern: str) -> bool:
    "A path below the root against a pattern such as `/0*.ipynb`; `*` stays in its folder."
    rx = '.*'.join('[^/]*'.join(map(re.escape, part.split('*'))) for part in pattern.lstrip('/').split('**'))
    return bool(re.fullmatch(rx, path))


def with_formulas(html: str) -> str:
    "A page whose TeX is MathML, which browsers draw by themselves, in place of a formula library from outside."
    html = re.sub(r'<link [^>]*katex[^>]*>|<script [^>]*katex[^>]*></script>', '', html)
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return html  # the formulas stay as TeX

    def drawn(m):
        return convert(unescape(m[2].strip()[2:-2]), display='block' if m[1] == 'display' else 'inline')

    return re.sub(r'<span class="math (inline|display)">(.*?)</span>', drawn, html, flags=re.S)


def inputs_digest() -> str:
    "A digest of every file that the site is made from."
    h = hashlib.sha256()
    found = [
        *(ROOT / 'nbs').rglob('*.ipynb'),
        *(ROOT / 'nbs').glob('*.css'),
        *(ROOT / 'realness').rglob('*.py'),
        ROOT / '_quarto.yml',
        ROOT / 'settings.ini',
        Path(__file__),
    ]
    for fn in sorted(o for o in found if '.ipynb_checkpoints' not in o.parts):
        h.update(f'{fn.resolve().relative_to(ROOT)}\0'.encode() + hashlib.sha256(fn.read_bytes()).digest())
    return h.hexdigest()


def fresh() -> bool:
    return MADE_FROM.is_file() and MADE_FROM.read_text() == inputs_digest()


def render() -> int:
    "Write `_site/`; the number of smalldocs' warnings."
    import yaml
    from nbdev.config import get_config

    cfg, src = get_config(), processed()
    names = rename_pages(src, f'{cfg.doc_host}{cfg.doc_baseurl}/')
    q = yaml.safe_load((src / '_quarto.yml').read_text(encoding='utf-8'))
    q['format']['html'].pop('html-math-method', None)
    bar = q['website']['sidebar']
    bar['contents'] = spelled_out(bar['contents'], names)
    (src / '_quarto.yml').write_text(yaml.safe_dump(q, sort_keys=False), encoding='utf-8')
    done = subprocess.run(
        [sys.executable, '-m', 'smalldocs.cli', 'render', '--quiet', src], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    print(done.stderr, end='')
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(src / cfg.doc_path.name, SITE)
    shutil.rmtree(src)
    for fn in SITE.rglob('*.html'):
        fn.write_text(with_formulas(fn.read_text(encoding='utf-8')), encoding='utf-8')
    return len(done.stderr.splitlines())


# ---- checking


class Page(HTMLParser):
    "What one page names (ids), where it leads (links), and what a browser loads for it (loads)."

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.loads, self.style = set(), [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids.update(a[k] for k in ('id', 'name') if a.get(k))
        self.style = tag == 'style'
        if tag == 'a' and a.get('href'):
            self.links.append(a['href'])
        if tag == 'link' and a.get('href') and a.get('rel') != 'canonical':
            self.loads.append(a['href'])
        for k in LOADS.get(tag, ()):
            if a.get(k):
                self.loads += (
                    [a[k]] if k != 'srcset' else [o.split()[0] for o in a[k].split(',') if o.strip()]
                )
        self.loads += CSS_LOAD.findall(a.get('style') or '')

    def handle_data(self, data):
        if self.style:
            self.loads += CSS_LOAD.findall(data)


def outside(url: str) -> bool:
    return url.startswith('//') or urlsplit(url).scheme in ('http', 'https')


def target(site: Path, fn: Path, path: str) -> Path:
    "The file that a local address on the page `fn` means."
    to = (site / path.lstrip('/') if path.startswith('/') else fn.parent / path) if path else fn
    return (to / 'index.html' if to.is_dir() else to).resolve()


def page_faults(site: Path, fn: Path, pages: dict[Path, Page]) -> list[str]:
    "Links, anchors and images of a page that lead nowhere, and whatever it would load from elsewhere."
    page, found = pages[fn], []
    for url in page.loads:
        if outside(url):
            found.append(f'loads {url} from outside')
        elif (
            not url.startswith(('data:', 'blob:'))
            and not target(site, fn, unquote(urlsplit(url).path)).is_file()
        ):
            found.append(f'loads {url}: no such file')
    for url in page.links:
        parts = urlsplit(url)
        if parts.scheme or parts.netloc:
            continue
        to = target(site, fn, unquote(parts.path))
        if not to.is_file():
            found.append(f'links to {url}: no such file')
        elif parts.fragment and to in pages and unquote(parts.fragment) not in pages[to].ids:
            found.append(f'links to {url}: no such place')
    return found


def site_faults(site: Path) -> tuple[list[str], str]:
    "Everything wrong with a rendered site, and a line on what was seen."
    from nbdev.doclinks import nbglob

    pages = {fn.resolve(): Page(fn.read_text(encoding='utf-8')) for fn in sorted(site.rglob('*.html'))}
    found = [
        f'{fn.relative_to(site.resolve())}: {o}'
        for fn in pages
        for o in dict.fromkeys(page_faults(site, fn, pages))
    ]
    for css in site.rglob('*.css'):
        found += [
            f'{css.relative_to(site)}: loads {o} from outside'
            for o in CSS_LOAD.findall(css.read_text(encoding='utf-8'))
        ]
    start, notebooks = site.resolve() / 'index.html', nbglob(path=ROOT / 'nbs', as_path=True)
    listed = (
        {target(site, start, unquote(urlsplit(o).path)) for o in pages[start].links if not outside(o)}
        if start in pages
        else set()
    )
    for nb in notebooks:
        want = (site / nb.resolve().relative_to(ROOT / 'nbs')).with_name(wanted_name(nb)).resolve()
        if want not in pages:
            found.append(f'{nb.name}: has no page {want.name}')
        elif want not in listed:
            found.append(f'{nb.name}: its page is not in the sidebar')
    links = sum(len(o.links) + len(o.loads) for o in pages.values())
    return found, f'{len(pages)} pages of {len(notebooks)} notebooks, {links} links and loads followed'


def wanted_name(nb: Path) -> str:
    "The page of a notebook as nbdev names it: its own name without the number."
    return re.sub(r'^\d+[a-zA-Z0-9]*_', '', nb.stem.lower()) + '.html'


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--check', action='store_true', help='render nothing')
    p.add_argument('--anew', action='store_true', help='render even where nothing has changed')
    a = p.parse_args()
    os.chdir(ROOT)
    from filelock import FileLock

    with FileLock(
        Path(tempfile.gettempdir())
        / f'realness-site-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]}.lock'
    ):
        return build(a.check, a.anew)


def build(check: bool, anew: bool) -> int:
    "Render where it is needed, check, say so; 1 where anything is wrong."
    print(
        'Quarto renders this documentation for its readers; here smalldocs does, from the same notebooks and _quarto.yml.'
    )
    kept, made, warned = check or (fresh() and not anew), inputs_digest(), 0
    if not kept:
        warned = render()
    elif not check:
        print('Nothing has changed since it was rendered.')
    found, seen = site_faults(SITE)
    for o in found:
        print(o)
    print(f'{seen}: {len(found)} faults, {warned} warnings')
    if not kept and not (found or warned):
        MADE_FROM.write_text(made)
    return bool(found or warned)


if __name__ == '__main__':
    sys.exit(main())
