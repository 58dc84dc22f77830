"""The saved outputs of the notebooks: checked, made and compared.

    python .ci/notebooks.py --check [NB ...]    # sizes, leftovers of a run, house rules; runs nothing
    python .ci/notebooks.py --run [NB ...]      # run from the top, slow cells too, and save the outputs, cleaned
    python .ci/notebooks.py --verify [NB ...]   # run from the top and compare with what is saved; writes nothing

Without names it takes every notebook that `nbdev_test` takes. Cells marked `#| eval: false`, `#| gpu` or `#| hub` and those that call
`nbdev_export` are not run and keep what is saved. A notebook that shows a live widget is run but keeps no outputs: widget ids are new
in every run.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_KB, LINES = 200, 40  # a notebook's size; an exported function's length
TIMEOUT = 900  # seconds for one cell
VIEW = 'application/vnd.jupyter.widget-view+json'
MACHINE = re.compile(r'/(?:home|root|Users|tmp|var/folders)/[\w.-]+|[A-Z]:\\Users\\')
NUMBER = re.compile(r'(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?')


def text_of(x) -> str:
    return ''.join(x) if isinstance(x, list) else x


def outputs(nb: dict):
    "Every (cell number, output) of the code cells."
    return [
        (n, o) for n, c in enumerate(nb['cells']) if c['cell_type'] == 'code' for o in c.get('outputs', [])
    ]


# ---- what lies in the file


def code_faults(src: str) -> list[str]:
    "What the rules for code cells forbid: long exported functions, and other code beside an import."
    try:
        tree = ast.parse('\n'.join('' if o.lstrip().startswith(('%', '!')) else o for o in src.splitlines()))
    except SyntaxError:
        return ['is not Python']
    defs = ast.FunctionDef | ast.AsyncFunctionDef
    if re.search(r'^#\| *export', src, re.M):
        sizes = {o.name: o.end_lineno - o.lineno + 1 for o in ast.walk(tree) if isinstance(o, defs)}
        return [f'{k} is {v} lines long, more than {LINES}' for k, v in sizes.items() if v > LINES]
    if re.search(r'^#\| *eval: *false', src, re.M):
        return []
    imports = any(isinstance(o, ast.Import | ast.ImportFrom) for o in ast.walk(tree))
    more = any(not isinstance(o, ast.Import | ast.ImportFrom | ast.ClassDef | defs) for o in tree.body)
    return (
        ['imports and does more; the documentation would run it, so give the imports a cell of their own']
        if imports and more
        else []
    )


def output_faults(out: dict) -> list[str]:
    "What must not be saved of one output."
    if out['output_type'] == 'error':
        return [f'a saved error: {out.get("ename")}']
    found = ['a saved live widget'] if VIEW in out.get('data', {}) else []
    if out.get('name') == 'stderr':
        found.append('saved stderr text: a warning, or a progress bar')
    if out.get('execution_count') is not None:
        found.append('an execution count')
    texts = [out.get('text', '')] + [v for k, v in out.get('data', {}).items() if k.startswith('text/')]
    found += [f'a path of one machine: {m[0]}' for t in texts if (m := MACHINE.search(text_of(t)))]
    return found


def faults(fn: Path) -> list[str]:
    "What is wrong with a notebook as it lies there."
    nb, kb = json.loads(fn.read_text(encoding='utf-8')), fn.stat().st_size / 1000
    found = [f'{kb:.0f} kB, more than {LIMIT_KB}'] if kb >= LIMIT_KB else []
    if 'widgets' in nb['metadata']:
        found.append('saved widget state')
    for n, c in enumerate(nb['cells']):
        if c.get('execution_count') is not None or 'execution' in c['metadata']:
            found.append(f'cell {n}: marks of a run; nbdev_clean removes them')
        if c['cell_type'] == 'code' and 'nbdev_export' not in (src := text_of(c['source'])):
            found += [f'cell {n}: {o}' for o in code_faults(src)]
    return found + [f'cell {n}: {f}' for n, o in outputs(nb) for f in output_faults(o)]


# ---- a fresh run


def left_out(cell, flags: set) -> bool:
    "Whether a run passes over a cell, as `nbdev_test --flags slow` does."
    from nbdev.process import extract_directives

    if cell.cell_type != 'code':
        return False
    marks = extract_directives(cell, remove=False)
    return (
        'nbdev_export(' in cell.source
        or marks.get('eval:', [''])[0].lower() == 'false'
        or bool(flags & marks.keys())
    )


def cleaned(nb) -> bytes:
    "The notebook as `nbdev_clean` writes it."
    import nbformat
    from nbdev.clean import nbdev_clean

    with tempfile.TemporaryDirectory() as d:
        tmp = Path(d) / 'nb.ipynb'
        nbformat.write(nb, tmp)
        nbdev_clean.__wrapped__(str(tmp))
        return tmp.read_bytes()


@contextmanager
def warm_kernels():
    "The name of a kernel that starts at once; the plain one where there is no fork. See warm.py."
    if not hasattr(os, 'fork'):
        return (yield 'python3')
    with tempfile.TemporaryDirectory(prefix='rl-') as d:
        spec = dict(
            argv=[sys.executable, '-S', '-E', str(ROOT / '.ci/warm.py'), f'{d}/s', '-f', '{connection_file}'],
            display_name='warm',
            language='python',
        )
        (Path(d) / 'kernels/warm').mkdir(parents=True)
        (Path(d) / 'kernels/warm/kernel.json').write_text(json.dumps(spec))
        os.environ['JUPYTER_PATH'] = os.pathsep.join([d, *filter(None, [os.environ.get('JUPYTER_PATH')])])
        with subprocess.Popen(
            [sys.executable, str(ROOT / '.ci/warm.py'), f'{d}/s'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as p:
            try:
                yield 'warm' if p.stdout.readline() == 'ready\n' else 'python3'
            finally:
                p.stdin.close()


def fresh(fn: Path, kernel: str) -> bytes:
    "The notebook, run from the top in its own folder and cleaned."
    os.environ['REALNESS_PROGRESS'] = '0'  # a progress bar would be a live widget
    import nbformat
    from nbclient import NotebookClient
    from nbdev.config import get_config
    from nbdev.frontmatter import FrontmatterProc
    from nbdev.process import NBProcessor

    seen = NBProcessor(fn, procs=FrontmatterProc, process=True).nb
    if str(getattr(seen, 'frontmatter_', {}).get('skip_exec', '')).lower() == 'true':
        return fn.read_bytes()
    nb, flags = nbformat.read(fn, 4), set(get_config().tst_flags.split()) - {'slow'}
    for c in nb.cells:
        if left_out(c, flags):
            c.metadata['tags'] = ['skip-execution']
    NotebookClient(
        nb,
        timeout=TIMEOUT,
        kernel_name=kernel,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=['--log-level=ERROR'],
        resources={'metadata': {'path': str(fn.parent)}},
    ).execute()
    nb.metadata.pop('widgets', None)
    if any(VIEW in o.get('data', {}) for _, o in outputs(nb)):
        for c in nb.cells:
            if c.cell_type == 'code':
                c.outputs = []
    return cleaned(nb)


# ---- the comparison


def said(cell: dict) -> list[tuple[str, str]]:
    "The outputs of a cell as (kind, text): images count as a kind only, since fonts differ between machines."
    res = []
    for o in cell.get('outputs', []):
        if 'text' in o:
            res.append((o.get('name', 'text'), text_of(o['text'])))
        for kind, v in sorted(o.get('data', {}).items()):
            shown = text_of(v) if kind.startswith('text/') else ''
            res.append((kind, re.sub(r'data:image/[\w+]+;base64,[\w+/=\s]+', 'data:image', shown)))
    return res


def near(a: str, b: str) -> bool:
    "Whether two written numbers agree: whole ones exactly, others to a unit of their last digit or half a percent."
    if a == b:
        return True
    if not ('.' in a or 'e' in a) or not ('.' in b or 'e' in b):
        return False
    digits = min(len(o.partition('e')[0].partition('.')[2]) for o in (a, b))
    unit = 0 if 'e' in a + b else 1.01 * 10.0**-digits
    return abs(float(a) - float(b)) <= max(unit, 5e-3 * abs(float(a)))


def same(a: str, b: str) -> bool:
    "Whether two texts say the same, up to spacing and the last digits of numbers (processors add in different orders)."
    words = [re.sub(r'\s+', ' ', NUMBER.sub('#', o)).strip() for o in (a, b)]
    numbers = [NUMBER.findall(o) for o in (a, b)]
    return words[0] == words[1] and len(numbers[0]) == len(numbers[1]) and all(map(near, *numbers))


def cell_differs(saved: dict, new: dict) -> str:
    "The first difference between a cell's saved and new outputs; empty when there is none."
    old, now = said(saved), said(new)
    if [k for k, _ in old] != [k for k, _ in now]:
        return f'saved {[k for k, _ in old]}, now {[k for k, _ in now]}'
    for (kind, a), (_, b) in zip(old, now):
        if same(a, b):
            continue
        lines = next(((x, y) for x, y in zip(a.splitlines(), b.splitlines()) if not same(x, y)), (a, b))
        return f'{kind}: saved {lines[0].strip()[:200]!r}, now {lines[1].strip()[:200]!r}'
    return ''


def differences(old: bytes, new: bytes) -> list[str]:
    "The cells whose saved outputs are not what the code gives now."
    pairs = zip(json.loads(old)['cells'], json.loads(new)['cells'])
    return [
        f'cell {n}: {d}'
        for n, (a, b) in enumerate(pairs)
        if a['cell_type'] == 'code' and (d := cell_differs(a, b))
    ]


# ---- the three verbs


def execute(fn: Path, save: bool, kernel: str) -> tuple[list[str], str]:
    "Run one notebook; (what is wrong, a note). With `save` the file gets the new outputs, else they are compared."
    start, old = time.time(), fn.read_bytes()
    try:
        new = fresh(fn, kernel)
    except Exception as e:  # a failed cell, a dead kernel, a cell over its time: all end this notebook only
        told = re.sub(r'\x1b\[[\d;]*m', '', str(e)).strip()
        return [f'{type(e).__name__}: {told[-3000:]}'], f'{time.time() - start:.1f} s'
    note = f'{time.time() - start:.1f} s, {len(new) / 1000:.0f} kB'
    if not save:
        return differences(old, new), note
    if new == old:
        return [], note + ', as saved'
    beside = fn.with_name(f'.{fn.name}.partial')
    beside.write_bytes(new)
    beside.replace(fn)
    return [], note + ', saved anew'


def notebooks(names: list[str]) -> list[Path]:
    "The notebooks named, or all that nbdev would test."
    from nbdev.doclinks import nbglob

    return [Path(o).resolve() for o in names] or sorted(Path(o).resolve() for o in nbglob(path=ROOT / 'nbs'))


def each(one, fns: list[Path], jobs: int) -> int:
    "Do one thing to every notebook and say what is wrong; how many have something wrong."
    bad = 0
    with ThreadPoolExecutor(
        jobs
    ) as pool:  # threads of one process, so that two kernels never pick the same port
        for fn, (wrong, note) in zip(fns, pool.map(one, fns)):
            name = fn.relative_to(ROOT) if fn.is_relative_to(ROOT) else fn.name
            print(f'{name}: {note}{", WRONG" if wrong else ""}', *wrong, sep='\n    ', flush=True)
            bad += bool(wrong)
    return bad


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verb = p.add_mutually_exclusive_group(required=True)
    for o in ('check', 'run', 'verify'):
        verb.add_argument(f'--{o}', action='store_true')
    p.add_argument('--jobs', type=int, default=min(2, os.cpu_count() or 1), help='notebooks run at once')
    p.add_argument(
        '--cold', action='store_true', help='a new process for every notebook, which imports all by itself'
    )
    p.add_argument('names', nargs='*', metavar='NB')
    a = p.parse_args()
    fns = notebooks(a.names)
    os.environ.setdefault(
        'OMP_NUM_THREADS', '1'
    )  # the same sums in the same order whatever the cores; and side by side it is quicker
    os.chdir(ROOT)
    if a.check:
        bad = each(lambda fn: (faults(fn), f'{fn.stat().st_size / 1000:.0f} kB'), fns, 1)
    else:
        with nullcontext('python3') if a.cold else warm_kernels() as kernel:
            bad = each(partial(execute, save=a.run, kernel=kernel), fns, a.jobs)
    print(f'{len(fns)} notebooks, {bad} with something wrong')
    return bool(bad) or not fns


if __name__ == '__main__':
    sys.exit(main())
