"""Every .pyi names exactly what its compiled module shows: no name more, none less, the same parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def names_of_files(kind: str) -> list[str]:
    paths = ROOT.glob(f"pgmux/**/*.{kind}")
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)


def is_public(name: str) -> bool:
    return not name.startswith("_")


MODULES = names_of_files("pyx")


def test_every_compiled_module_has_a_stub_and_the_other_way_round() -> None:
    assert names_of_files("pyi") == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_stub_names_exactly_what_the_module_shows(module: str) -> None:
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".pyi").read_text())
    assert dict(names_of_stub(tree)) == dict(names_of_module(module))


@pytest.mark.parametrize("module", MODULES)
def test_stub_says_in_the_module_s_words_what_a_class_is(module: str) -> None:
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".pyi").read_text())
    compiled = importlib.import_module(module)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    told = [ast.get_docstring(tree), *(ast.get_docstring(node) for node in classes)]
    whole = [compiled.__doc__, *(getattr(compiled, node.name, None).__doc__ for node in classes)]
    for words, more in zip(told, whole, strict=True):
        assert words is None or (more is not None and more.startswith(words))


def names_of_stub(tree: ast.Module) -> Iterator[tuple[str, list[str] | None]]:
    for node in tree.body:
        yield from names_of_node(node, "")
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            for inner in node.body:
                yield from names_of_node(inner, f"{node.name}.")


def names_of_node(node: ast.stmt, prefix: str) -> Iterator[tuple[str, list[str] | None]]:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            found, parameters = name, None
        case ast.ClassDef(name=name):
            found, parameters = name, None
        case ast.FunctionDef(name=name, args=arguments):
            is_method = not any("property" in ast.dump(decorator) for decorator in node.decorator_list)
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            every += [rest for rest in (arguments.vararg, arguments.kwarg) if rest is not None]
            found = name
            parameters = [argument.arg for argument in every] if is_method else None
        case _:
            return
    if is_public(found):
        yield prefix + found, parameters


def names_of_module(module: str) -> Iterator[tuple[str, list[str] | None]]:
    for name, value in vars(importlib.import_module(module)).items():
        if not is_public(name) or inspect.ismodule(value) or getattr(value, "__module__", module) != module:
            continue
        yield name, parameters_of(value)
        if isinstance(value, type):
            for inner, attribute in vars(value).items():
                if is_public(inner):
                    yield f"{name}.{inner}", parameters_of(attribute)


def parameters_of(value: object) -> list[str] | None:
    function = getattr(value, "__func__", value)
    if isinstance(value, type) or not inspect.isroutine(function):
        return None
    return list(inspect.signature(function).parameters)
