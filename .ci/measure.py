"""Measure how readable the code is.

    python .ci/measure.py          # one table for the whole project
    python .ci/measure.py --each   # and one line for each notebook
    python .ci/measure.py --places # and where lines are long, assignments packed, and parameters many

Lines are counted in the modules that nbdev exports. A *packed assignment* assigns three or more names at
once. Export cells that only import are not counted. An export cell is *followed by use* if the next code cell
is not exported.
"""

import argparse
import ast
import json
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPORT = re.compile(r'^#\| *export[is]?\b', re.M)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def source(cell: dict) -> str:
    return ''.join(cell['source'])


def is_packed(node) -> bool:
    """Whether a statement assigns three or more names at once."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    return any(isinstance(target, ast.Tuple) and len(target.elts) >= 3 for target in node.targets)


def count_parameters(function) -> int:
    """Parameters of a function without `self` and `cls`."""
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ('self', 'cls')])


def public_names(tree) -> list:
    """Functions and classes of a module that do not start with an underscore."""
    names = [node.name for node in tree.body if isinstance(node, (*FUNCTIONS, ast.ClassDef))]
    return [name for name in names if not name.startswith('_')]


def imported_names(tree) -> set:
    """Names that a module imports with `from ... import`."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names}


def module_files() -> list:
    """The modules in `realness/`."""
    return [f for f in sorted((ROOT / 'realness').rglob('*.py')) if f.name != '_modidx.py']


def file_places(text: str) -> list:
    """(line, what) of long lines, packed assignments and functions with many parameters.

    The first line and the list `__all__`, which nbdev writes, are left out.
    """
    tree = ast.parse(text)
    generated = {1}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__':
            generated.update(range(node.lineno, node.end_lineno + 1))
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > 110 and number not in generated:
            found.append((number, f'{len(line)} columns'))
    for node in ast.walk(tree):
        if is_packed(node):
            found.append((node.lineno, f'packed: {ast.unparse(node)}'))
        if isinstance(node, FUNCTIONS) and count_parameters(node) > 5:
            found.append((node.lineno, f'{node.name}: {count_parameters(node)} parameters'))
    return sorted(found)


def print_places():
    """One line for each place that `file_places` finds."""
    for file in module_files():
        for number, what in file_places(file.read_text(encoding='utf-8')):
            print(f'{file.relative_to(ROOT)}:{number}: {what}')


def module_figures() -> dict:
    """Figures of the modules in `realness/`."""
    files = module_files()
    texts = {f: f.read_text(encoding='utf-8') for f in files}
    trees = {f: ast.parse(text) for f, text in texts.items()}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    statements = sum(isinstance(node, ast.stmt) for node in nodes)
    lines = [line for text in texts.values() for line in text.splitlines()]
    public = [name for tree in trees.values() for name in public_names(tree)]
    imported = set().union(*(imported_names(tree) for tree in trees.values()))
    return {
        'lines': len(lines),
        'lines over 110 columns, %': 100 * sum(len(line) > 110 for line in lines) / len(lines),
        'lines over 120 columns, %': 100 * sum(len(line) > 120 for line in lines) / len(lines),
        'packed assignments in 1,000 statements': 1000 * sum(map(is_packed, nodes)) / statements,
        'lambdas in 1,000 statements': 1000 * sum(isinstance(n, ast.Lambda) for n in nodes) / statements,
        'functions with more than five parameters': sum(
            isinstance(n, FUNCTIONS) and count_parameters(n) > 5 for n in nodes
        ),
        'public functions and classes': len(public),
        'of these, imported by no other module': len([name for name in public if name not in imported]),
    }


def export_cells(notebook: Path) -> list:
    """(number of lines, whether it is followed by use) of each export cell that does more than import."""
    cells = [c for c in json.loads(notebook.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']
    measured = []
    for cell, following in zip(cells, [*cells[1:], None], strict=False):
        text = source(cell)
        if not EXPORT.search(text):
            continue
        code = re.sub(r'^#\|.*\n?', '', text, flags=re.M).strip()
        if all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(code).body):
            continue
        followed = following is not None and not EXPORT.search(source(following))
        measured.append((len(code.splitlines()), followed))
    return measured


def cell_figures(cells: list) -> dict:
    """Figures of export cells."""
    return {
        'export cells': len(cells),
        'lines of an export cell, median': statistics.median(n for n, _ in cells),
        'export cells followed by use, %': 100 * sum(used for _, used in cells) / len(cells),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--each', action='store_true', help='print one line for each notebook, too')
    parser.add_argument('--places', action='store_true', help='print the places that are counted, too')
    options = parser.parse_args()
    if options.places:
        print_places()
    notebooks = {nb: export_cells(nb) for nb in sorted((ROOT / 'nbs').rglob('*.ipynb'))}
    if options.each:
        for notebook, cells in notebooks.items():
            if cells:
                n, median, used = cell_figures(cells).values()
                print(
                    f'{notebook.relative_to(ROOT)}: {n} export cells, median {median}, {used:.0f} % followed'
                )
    all_cells = [cell for cells in notebooks.values() for cell in cells]
    for name, value in (module_figures() | cell_figures(all_cells)).items():
        print(f'{name:45} {value:8.1f}' if isinstance(value, float) else f'{name:45} {value:8}')


if __name__ == '__main__':
    main()
