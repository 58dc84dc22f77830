"""Make the rendered documentation smaller: what every page repeats becomes a file of its own.

A page of smalldocs holds the whole sidebar, the script of the site and its images as text. Here they become
files that all pages share. The pages still work when they are opened from a disk.
"""

import base64
import hashlib
import json
import os
import re
from pathlib import Path

MOST_MB = 40  # a site that is larger is a problem
SIDEBAR = re.compile(r'<nav id="quarto-sidebar"[^>]*>(.*?)</nav>', re.S)
LONG_SCRIPT = re.compile(r'<script>((?:(?!</script>).){1000,})</script>', re.S)
IMAGE = re.compile(r'(<img\b[^>]*?\bsrc=")data:image/(png|jpeg|gif|webp);base64,([^"]{400,})"', re.S)
CODE = re.compile(r'<code\b[^>]*>.*?</code>', re.S)
BUILT_IN = re.compile(r'<span class="bu">([^<]*)</span>')
OLD_FONT = re.compile(r',url\("[^"]*\.woff\?[^"]*"\) format\("woff"\)')
SEARCH_TEXT = 350  # characters of a section that the search reads
SIDEBAR_SCRIPT = """(() => {
  const place = document.currentScript.parentElement;
  const root = place.dataset.root;
  const page = (path) => path.replace(/\\/$/, '/index.html');
  place.insertAdjacentHTML('beforeend', MARKUP);
  for (const link of place.querySelectorAll('a[href]')) {
    link.setAttribute('href', root + link.getAttribute('href'));
    if (page(link.pathname) !== page(location.pathname)) continue;
    link.classList.add('active');
    link.setAttribute('aria-current', 'page');
    let section = link.closest('.sidebar-section');
    while (section) {
      section.classList.add('show');
      for (const toggle of place.querySelectorAll(`[data-bs-target="#${section.id}"]`)) {
        toggle.setAttribute('aria-expanded', 'true');
        toggle.classList.remove('collapsed');
      }
      section = section.parentElement.closest('.sidebar-section');
    }
  }
})();
"""


def root_of(page: Path, site: Path) -> str:
    """The relative path from a page to the top of the site, with a slash at its end unless empty."""
    return '../' * (len(page.relative_to(site).parts) - 1)


def share_sidebar(site: Path, pages: dict[Path, str]):
    """Write the sidebar once, as a script; the home page keeps its own, which works without scripts."""
    home = site / 'index.html'
    markup = SIDEBAR.search(pages[home])[1]
    markup = markup.replace(' active" aria-current="page"', '"')
    script = SIDEBAR_SCRIPT.replace('MARKUP', json.dumps(markup, ensure_ascii=False))
    (site / 'site_libs' / 'sidebar.js').write_text(script, encoding='utf-8')
    for path, text in pages.items():
        sidebar = SIDEBAR.search(text)
        if path == home or not sidebar:
            continue
        root = root_of(path, site)
        start = text[sidebar.start() : sidebar.start(1) - 1] + f' data-root="{root}">'
        loads = f'<script src="{root}site_libs/sidebar.js"></script>'
        instead = f'<noscript><a href="{root}index.html">All pages</a></noscript>'
        pages[path] = f'{text[: sidebar.start()]}{start}{loads}{instead}</nav>{text[sidebar.end() :]}'


def share_scripts(site: Path, pages: dict[Path, str]):
    """Write long scripts that all pages hold to files."""
    common = set.intersection(*(set(LONG_SCRIPT.findall(text)) for text in pages.values()))
    for number, script in enumerate(sorted(common)):
        name = f'site_libs/site_script_{number}.js'
        (site / name).write_text(script, encoding='utf-8')
        for path, text in pages.items():
            loads = f'<script src="{root_of(path, site)}{name}"></script>'
            pages[path] = text.replace(f'<script>{script}</script>', loads)


def share_images(site: Path, pages: dict[Path, str]):
    """Write images to files that are named by their content."""
    folder = site / 'site_images'
    folder.mkdir(exist_ok=True)
    for path, text in pages.items():

        def as_file(match, path=path):
            content = base64.b64decode(match[3])
            name = f'{hashlib.sha256(content).hexdigest()[:16]}.{match[2]}'
            (folder / name).write_bytes(content)
            return f'{match[1]}{os.path.relpath(folder / name, path.parent)}"'

        pages[path] = IMAGE.sub(as_file, text)


def shorten_code(pages: dict[Path, str]):
    """Write quotation marks in code as they are, and names of built-in functions as plain text.

    smalldocs escapes quotation marks, which takes six characters, and its stylesheet gives such names the
    colour of the text around them.
    """

    def shorten(match):
        text = match[0].replace('&#x27;', "'").replace('&quot;', '"')
        return BUILT_IN.sub(r'\1', text)

    for path, text in pages.items():
        pages[path] = CODE.sub(shorten, text)


def remove_old_fonts(site: Path):
    """Remove the fonts in WOFF; all browsers that run the pages read WOFF2."""
    for css in site.rglob('*.css'):
        text = css.read_text(encoding='utf-8')
        css.write_text(OLD_FONT.sub('', text), encoding='utf-8')
    for font in site.rglob('*.woff'):
        if font.with_suffix('.woff2').is_file():
            font.unlink()


def shorten_search(site: Path):
    """Limit the text of each section in the index of the search."""
    file = site / 'search.json'
    entries = json.loads(file.read_text(encoding='utf-8'))
    for entry in entries:
        entry['text'] = entry['text'][:SEARCH_TEXT]
    text = json.dumps(entries, ensure_ascii=False, separators=(',', ':'))
    file.write_text(text, encoding='utf-8')


def slim(site: Path):
    """Make a rendered site smaller, in place."""
    pages = {path: path.read_text(encoding='utf-8') for path in sorted(site.rglob('*.html'))}
    share_sidebar(site, pages)
    share_scripts(site, pages)
    share_images(site, pages)
    shorten_code(pages)
    for path, text in pages.items():
        path.write_text(text, encoding='utf-8')
    remove_old_fonts(site)
    shorten_search(site)


def megabytes(site: Path) -> float:
    """The size of all files of a site, in MB of a million bytes."""
    return sum(path.stat().st_size for path in site.rglob('*') if path.is_file()) / 1e6
