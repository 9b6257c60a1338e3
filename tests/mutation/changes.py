"""Small changes of a module's source that a test should notice, one at a time."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
# What is only said to people may change: logs, metrics, and the words of errors.
SPOKEN = {"debug", "info", "warning", "error", "exception", "labels", "inc", "get_logger", "Field"}


@dataclass(frozen=True)
class Mutant:
    """One changed source, and where it differs."""

    line: int
    change: str
    source: str


def mutants_of(source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    nodes = [node for node in ast.walk(tree) if not isinstance(node, ast.expr_context)]
    silent = _unheard(tree)
    found = []
    for place, node in enumerate(nodes):
        if id(node) in silent:
            continue
        for number, (change, _) in enumerate(_changes(node)):
            mutated = copy.deepcopy(tree)
            copied = [one for one in ast.walk(mutated) if not isinstance(one, ast.expr_context)][place]
            _changes(copied)[number][1]()
            found.append(
                Mutant(getattr(node, "lineno", 0), change, ast.unparse(ast.fix_missing_locations(mutated)))
            )
    yield from sorted((one for one in found if one.source != ast.unparse(tree)), key=lambda one: one.line)


Change = tuple[str, Callable[[], None]]


def _changes(node: ast.AST) -> list[Change]:
    return _of_operator(node) or _of_value(node) or _of_statement(node)


def _of_operator(node: ast.AST) -> list[Change]:
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in COMPARISONS:
            other = COMPARISONS[type(operator)]
            return [(f"{_name(operator)} to {other.__name__}", lambda: node.ops.__setitem__(0, other()))]
        case ast.BinOp(op=operator) if type(operator) in OPERATORS:
            other_operator = OPERATORS[type(operator)]
            return [
                (f"{_name(operator)} to {other_operator.__name__}", lambda: setattr(node, "op", other_operator()))
            ]
        case ast.BoolOp(op=operator):
            turned = ast.Or if isinstance(operator, ast.And) else ast.And
            return [(f"{_name(operator)} to {turned.__name__}", lambda: setattr(node, "op", turned()))]
        case ast.UnaryOp(op=ast.Not()):
            return [("without not", lambda: _affirm(node))]
        case _:
            return []


def _of_value(node: ast.AST) -> list[Change]:
    match node:
        case ast.Constant(value=bool() as value):
            return [(f"{value} to {not value}", lambda: setattr(node, "value", not value))]
        case ast.Constant(value=int() | float() as number):
            return [(f"{number} to {number + 1}", lambda: setattr(node, "value", number + 1))]
        case ast.Constant(value=str() as text) if text:
            return [(f"{text[:20]!r} spoilt", lambda: setattr(node, "value", "XX" + text))]
        case ast.Constant(value=bytes() as raw) if raw:
            return [(f"{raw[:20]!r} spoilt", lambda: setattr(node, "value", b"XX" + raw))]
        case _:
            return []


def _of_statement(node: ast.AST) -> list[Change]:
    match node:
        case ast.If() | ast.IfExp() | ast.While():
            return [(f"condition {value}", _setter(node, "test", ast.Constant(value))) for value in (True, False)]
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            return [("returns None", _setter(node, "value", ast.Constant(None)))]
        case ast.Raise():
            return [("raises nothing", lambda: _become_pass(node))]
        case _:
            return []


def _unheard(tree: ast.Module) -> set[int]:
    """Nodes that say nothing to a machine: docstrings, annotations, logs, metrics, the words of errors."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant()):
                roots.append(node)
            case ast.AnnAssign(annotation=annotation) | ast.arg(annotation=ast.expr() as annotation):
                roots.append(annotation)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                roots += [*node.decorator_list, *([node.returns] if node.returns else [])]
            case ast.Call(func=ast.Attribute(attr=name)) if name in SPOKEN:
                roots.append(node)
            case ast.Raise(exc=ast.Call(args=arguments)):
                roots += arguments
            case ast.ClassDef():
                roots += node.decorator_list
            case _:
                pass
    return {id(inner) for root in roots for inner in ast.walk(root)}


def _setter(node: ast.AST, name: str, value: ast.expr) -> Callable[[], None]:
    return lambda: setattr(node, name, value)


def _affirm(node: ast.UnaryOp) -> None:
    node.op, node.operand = ast.UAdd(), ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])


def _become_pass(node: ast.Raise) -> None:
    node.exc, node.cause = None, None
    node.__class__ = ast.Pass  # type: ignore[assignment]  # in place, whoever holds it


def _name(operator: ast.AST) -> str:
    return type(operator).__name__
