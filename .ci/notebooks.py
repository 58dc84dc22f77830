"""Run the notebooks, and compare or save their outputs.

    python .ci/notebooks.py                  # run every notebook and compare its outputs with the saved ones
    python .ci/notebooks.py NB...            # the same for some notebooks
    python .ci/notebooks.py --run [NB...]    # run and save the new outputs, cleaned
    python .ci/notebooks.py --check [NB...]  # run nothing; check sizes and outputs of the saved files

A run executes all cells from the top, slow ones included, except those marked `#| eval: false`, `#| gpu` or
`#| hub` and those that call `nbdev_export`. A failing cell fails the notebook, and so does an output that
differs from the saved one.
A notebook that shows a live widget is run, but its outputs are not saved, because widget ids change in every
run.
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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_KB = 200  # size of a notebook
CELL_TIMEOUT = 900  # seconds
WIDGET = 'application/vnd.jupyter.widget-view+json'
MACHINE_PATH = re.compile(r'/(?:home|root|Users|tmp|var/folders)/[\w.-]+|[A-Z]:\\Users\\')
NUMBER = re.compile(r'(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?')


def join_text(text) -> str:
    """Text that a notebook may store as a list of lines."""
    return ''.join(text) if isinstance(text, list) else text


def code_cells(notebook: dict):
    """(cell number, cell) of every code cell."""
    return [(n, cell) for n, cell in enumerate(notebook['cells']) if cell['cell_type'] == 'code']


# ---- Checks that run nothing


def mixes_imports(source: str) -> bool:
    """Whether a cell that is not exported imports and does something else.

    nbdev runs every cell that imports when it renders the documentation, so such a cell must do nothing else.
    """
    if re.search(r'^#\| *export', source, re.M) or re.search(r'^#\| *eval: *false', source, re.M):
        return False
    lines = ['' if line.lstrip().startswith(('%', '!')) else line for line in source.splitlines()]
    tree = ast.parse('\n'.join(lines))
    imports = (ast.Import, ast.ImportFrom)
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    has_import = any(isinstance(node, imports) for node in ast.walk(tree))
    does_more = any(not isinstance(node, (*imports, *definitions)) for node in tree.body)
    return has_import and does_more


def output_problems(output: dict) -> list[str]:
    """Reasons why an output must not be saved."""
    if output['output_type'] == 'error':
        return [f'a saved error: {output.get("ename")}']
    problems = []
    if WIDGET in output.get('data', {}):
        problems.append('a saved live widget')
    if output.get('name') == 'stderr':
        problems.append('saved stderr text: a warning, or a progress bar')
    if output.get('execution_count') is not None:
        problems.append('an execution count')
    texts = [output.get('text', '')]
    texts += [value for kind, value in output.get('data', {}).items() if kind.startswith('text/')]
    for text in texts:
        if match := MACHINE_PATH.search(join_text(text)):
            problems.append(f'a path of one machine: {match[0]}')
    return problems


def cell_problems(cell: dict) -> list[str]:
    """Problems of a saved code cell."""
    problems = []
    if cell.get('execution_count') is not None or 'execution' in cell['metadata']:
        problems.append('an execution count or times; run nbdev_clean')
    source = join_text(cell['source'])
    if 'nbdev_export' not in source and mixes_imports(source):
        problems.append('imports and does something else; move the imports to a cell of their own')
    for output in cell.get('outputs', []):
        problems += output_problems(output)
    return problems


def saved_problems(path: Path) -> list[str]:
    """Problems of a saved notebook."""
    notebook = json.loads(path.read_text(encoding='utf-8'))
    size = path.stat().st_size / 1000
    problems = []
    if size >= MAX_KB:
        problems.append(f'{size:.0f} kB, more than {MAX_KB}')
    if 'widgets' in notebook['metadata']:
        problems.append('saved widget state')
    for n, cell in code_cells(notebook):
        problems += [f'cell {n}: {problem}' for problem in cell_problems(cell)]
    return problems


# ---- Run a notebook


def is_skipped(cell, flags: set) -> bool:
    """Whether a run leaves out a cell, as `nbdev_test --flags slow` does."""
    from nbdev.process import extract_directives

    if cell.cell_type != 'code':
        return False
    directives = extract_directives(cell, remove=False)
    not_evaluated = directives.get('eval:', [''])[0].lower() == 'false'
    return 'nbdev_export(' in cell.source or not_evaluated or bool(flags & directives.keys())


def is_never_run(path: Path) -> bool:
    """Whether the front matter of a notebook contains `skip_exec: true`."""
    from nbdev.frontmatter import FrontmatterProc
    from nbdev.process import NBProcessor

    notebook = NBProcessor(path, procs=FrontmatterProc, process=True).nb
    return str(getattr(notebook, 'frontmatter_', {}).get('skip_exec', '')).lower() == 'true'


def clean(notebook) -> bytes:
    """The notebook as `nbdev_clean` writes it."""
    import nbformat
    from nbdev.clean import nbdev_clean

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'nb.ipynb'
        nbformat.write(notebook, path)
        nbdev_clean.__wrapped__(str(path))
        return path.read_bytes()


@contextmanager
def forked_kernels():
    """Yield the name of a kernel that starts quickly (see warm.py), or 'python3' on systems without fork."""
    if not hasattr(os, 'fork'):
        yield 'python3'
        return
    script = str(ROOT / '.ci/warm.py')
    with tempfile.TemporaryDirectory(prefix='rl-') as folder:
        spec = {
            'argv': [sys.executable, '-S', '-E', script, f'{folder}/s', '-f', '{connection_file}'],
            'display_name': 'warm',
            'language': 'python',
        }
        (Path(folder) / 'kernels/warm').mkdir(parents=True)
        (Path(folder) / 'kernels/warm/kernel.json').write_text(json.dumps(spec))
        jupyter_path = [folder, os.environ.get('JUPYTER_PATH', '')]
        os.environ['JUPYTER_PATH'] = os.pathsep.join(filter(None, jupyter_path))
        command = [sys.executable, script, f'{folder}/s']
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield 'warm' if process.stdout.readline() == 'ready\n' else 'python3'
            finally:
                process.stdin.close()


def run_notebook(path: Path, kernel: str) -> bytes:
    """The notebook after a run from the top in its own folder, cleaned."""
    import nbformat
    from nbclient import NotebookClient
    from nbdev.config import get_config

    os.environ['REALNESS_PROGRESS'] = '0'  # a progress bar would be a live widget
    if is_never_run(path):
        return path.read_bytes()
    notebook = nbformat.read(path, 4)
    flags = set(get_config().tst_flags.split()) - {'slow'}
    for cell in notebook.cells:
        if is_skipped(cell, flags):
            cell.metadata['tags'] = ['skip-execution']
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name=kernel,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=['--log-level=ERROR'],
        resources={'metadata': {'path': str(path.parent)}},
    )
    client.execute()
    notebook.metadata.pop('widgets', None)
    cells = [cell for _, cell in code_cells(notebook)]
    if any(WIDGET in output.get('data', {}) for cell in cells for output in cell.outputs):
        for cell in cells:
            cell.outputs = []
    return clean(notebook)


# ---- Compare outputs


def visible_outputs(cell: dict) -> list[tuple[str, str]]:
    """The outputs of a cell as (kind, text); images count by their kind only, since fonts differ."""
    outputs = []
    for output in cell.get('outputs', []):
        if 'text' in output:
            outputs.append((output.get('name', 'text'), join_text(output['text'])))
        for kind, value in sorted(output.get('data', {}).items()):
            text = join_text(value) if kind.startswith('text/') else ''
            outputs.append((kind, re.sub(r'data:image/[\w+]+;base64,[\w+/=\s]+', 'data:image', text)))
    return outputs


def is_close(first: str, second: str) -> bool:
    """Whether two numbers, given as text, agree.

    Integers must be equal; other numbers may differ by a unit of their last digit or by half a percent.
    """
    if first == second:
        return True
    if not all('.' in number or 'e' in number for number in (first, second)):
        return False
    decimals = min(len(number.partition('e')[0].partition('.')[2]) for number in (first, second))
    unit = 0 if 'e' in first + second else 1.01 * 10.0**-decimals
    return abs(float(first) - float(second)) <= max(unit, 5e-3 * abs(float(first)))


def is_same(first: str, second: str) -> bool:
    """Whether two texts agree, apart from white space and the last digits of numbers.

    Processors sum in different orders, so the last digits of numbers may differ.
    """
    words = [re.sub(r'\s+(?=[,\])}])', '', NUMBER.sub('#', text)) for text in (first, second)]  # NumPy pads
    words = [re.sub(r'\s+', ' ', text).strip() for text in words]
    numbers = [NUMBER.findall(text) for text in (first, second)]
    if words[0] != words[1] or len(numbers[0]) != len(numbers[1]):
        return False
    return all(is_close(a, b) for a, b in zip(*numbers, strict=True))


def cell_difference(saved: dict, new: dict) -> str:
    """The first difference between the saved and the new outputs of a cell; empty if there is none."""
    old_outputs = visible_outputs(saved)
    new_outputs = visible_outputs(new)
    old_kinds = [kind for kind, _ in old_outputs]
    new_kinds = [kind for kind, _ in new_outputs]
    if old_kinds != new_kinds:
        return f'saved {old_kinds}, new {new_kinds}'
    for (kind, old), (_, text) in zip(old_outputs, new_outputs, strict=True):
        if is_same(old, text):
            continue
        pairs = zip(old.splitlines(), text.splitlines(), strict=False)
        a, b = next(((a, b) for a, b in pairs if not is_same(a, b)), (old, text))
        return f'{kind}: saved {a.strip()[:200]!r}, new {b.strip()[:200]!r}'
    return ''


def output_differences(old: bytes, new: bytes) -> list[str]:
    """One line for each cell whose saved outputs differ from the new ones."""
    pairs = zip(code_cells(json.loads(old)), code_cells(json.loads(new)), strict=True)
    differences = [(n, cell_difference(saved, cell)) for (n, saved), (_, cell) in pairs]
    return [f'cell {n}: {difference}' for n, difference in differences if difference]


# ---- The command


@dataclass
class Result:
    """The result for one notebook."""

    note: str = ''
    problems: list = field(default_factory=list)


def check(path: Path) -> Result:
    """Check a saved notebook without running it."""
    return Result(f'{path.stat().st_size / 1000:.0f} kB', saved_problems(path))


def execute(path: Path, save: bool, kernel: str) -> Result:
    """Run a notebook; save the new outputs, or compare them with the saved ones."""
    start = time.time()
    old = path.read_bytes()
    try:
        new = run_notebook(path, kernel)
    except Exception as error:  # a failed cell, a dead kernel, a timeout: all end this notebook only
        text = re.sub(r'\x1b\[[\d;]*m', '', str(error)).strip()
        return Result(f'{time.time() - start:.1f} s', [f'{type(error).__name__}: {text[-3000:]}'])
    result = Result(f'{time.time() - start:.1f} s, {len(new) / 1000:.0f} kB')
    if not save:
        result.problems = output_differences(old, new)
    elif new == old:
        result.note += ', unchanged'
    else:
        partial_file = path.with_name(f'.{path.name}.partial')
        partial_file.write_bytes(new)
        partial_file.replace(path)
        result.note += ', saved'
    return result


def find_notebooks(names: list[str]) -> list[Path]:
    """The named notebooks, or all that nbdev tests."""
    from nbdev.doclinks import nbglob

    paths = names or nbglob(path=ROOT / 'nbs')
    return sorted(Path(path).resolve() for path in paths)


def report_each(process, paths: list[Path], jobs: int) -> int:
    """Process every notebook and print the result; return how many have a problem."""
    failed = 0
    with ThreadPoolExecutor(jobs) as pool:  # threads of one process, so that two kernels never take one port
        for path, result in zip(paths, pool.map(process, paths), strict=True):
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
            verdict = 'FAILED' if result.problems else 'passed'
            print(f'{name}: {verdict}, {result.note}', *result.problems, sep='\n    ', flush=True)
            failed += bool(result.problems)
    return failed


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--run', action='store_true', help='save the new outputs')
    mode.add_argument('--check', action='store_true', help='run nothing')
    parser.add_argument('--jobs', type=int, default=min(2, os.cpu_count() or 1), help='notebooks run at once')
    parser.add_argument('--cold', action='store_true', help='start a new process for every notebook')
    parser.add_argument('names', nargs='*', metavar='NB')
    return parser.parse_args()


def main() -> int:
    options = parse_options()
    paths = find_notebooks(options.names)
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # the same sums on any number of cores
    os.chdir(ROOT)
    if options.check:
        failed = report_each(check, paths, 1)
    else:
        with nullcontext('python3') if options.cold else forked_kernels() as kernel:
            failed = report_each(partial(execute, save=options.run, kernel=kernel), paths, options.jobs)
    print(f'notebooks: {len(paths) - failed} passed, {failed} failed')
    return bool(failed) or not paths


if __name__ == '__main__':
    sys.exit(main())
