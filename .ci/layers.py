"""Check the layers: every notebook has its own number, and no module imports one with a higher number.

    python .ci/layers.py

The numbers of the notebooks give the order in which to read them. The first digit is the section:
0 base, 1 score, 2 heatmap, 3 evaluation, 4 descriptions, 5 interfaces, 6 experiments.
Imports inside functions count.
"""

import ast
import json
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def exported_module(notebook: Path) -> str | None:
    """The module that a notebook exports, such as `realness.config`; None for a page of the documentation."""
    for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells']:
        if match := re.match(r'#\| *default_exp (\S+)', ''.join(cell['source'])):
            return f'realness.{match[1]}'
    return None


def notebook_numbers() -> dict:
    """Module name -> number of its notebook."""
    numbers = {}
    for notebook in sorted((ROOT / 'nbs').rglob('*.ipynb')):
        if module := exported_module(notebook):
            numbers[module] = int(re.match(r'\d+', notebook.name)[0])
    return numbers


def absolute_names(node, module: str) -> list[str]:
    """The modules that an import statement may import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ''
    if node.level:
        package = module.split('.')[: -node.level]
        base = '.'.join([*package, *([base] if base else [])])
    return [base, *(f'{base}.{alias.name}' for alias in node.names)]


def imported_modules(module: str) -> set:
    """All modules that a module imports, at its top or inside functions."""
    path = ROOT / f'{module.replace(".", "/")}.py'
    nodes = ast.walk(ast.parse(path.read_text(encoding='utf-8')))
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {name for node in imports for name in absolute_names(node, module)}


def layer_problems(numbers: dict) -> list[str]:
    """Numbers that occur twice, and imports of a module with a higher number."""
    counts = Counter(numbers.values())
    problems = [f'{n}: two notebooks have this number' for n in counts if counts[n] > 1]
    for module, number in numbers.items():
        for other in sorted(imported_modules(module) & numbers.keys() - {module}):
            if numbers[other] > number:
                problems.append(f'{module} ({number}) imports {other} ({numbers[other]})')
    return problems


def main() -> int:
    numbers = notebook_numbers()
    problems = layer_problems(numbers)
    for problem in problems:
        print(problem)
    print(f'{len(numbers)} modules, {len(problems)} problems')
    return bool(problems)


if __name__ == '__main__':
    sys.exit(main())
