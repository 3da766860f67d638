"""What sources use of TensorRT, held against one release's real bindings.

Nothing here lists the API: the sources are read as syntax trees, and the bindings carry
their signatures in their docstrings. The kind of an object is followed from ``trt``
through calls; where it comes in from outside (a parameter typed ``Any``, an attribute of
ours) its name tells, by the table below. In the sources checked, those names mean those
things.

Run as a script with the bindings importable, it prints one JSON object.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = "trt"
VARIABLES = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "tensor": "ITensor",
}


@dataclass(frozen=True)
class Kind:
    """What an expression is: the module, a class of it, an instance, or a callable."""

    what: str
    of: Any = None
    bound: bool = False


MODULE_KIND = Kind("module")
UNKNOWN = Kind("unknown")


@dataclass
class Parameter:
    name: str
    type_name: str
    required: bool


@dataclass
class Findings:
    uses: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


class Reader(ast.NodeVisitor):
    """Walks one source, following kinds from scope to scope."""

    def __init__(self, trt: ModuleType, source: str, findings: Findings) -> None:
        self.trt = trt
        self.source = source
        self.findings = findings
        self.scopes: list[dict[str, Kind]] = [{MODULE: MODULE_KIND}]

    # Where names get their kinds.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        scope = {}
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            scope[argument.arg] = self.of_parameter(argument)
        self.scopes.append(scope)
        self.generic_visit(node)
        self.scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            kind = self.kind(base)
            if kind.what == "class":
                self.check_overrides(node, kind.of)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.scopes[-1][node.name] = UNKNOWN
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self.bind(node.target, UNKNOWN)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self.comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self.comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self.comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self.comprehension(node)

    def comprehension(self, node: Any) -> None:
        for generator in node.generators:
            self.bind(generator.target, UNKNOWN)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        kind = self.kind(node.value)
        for target in node.targets:
            if isinstance(target, ast.Attribute) and target.attr == "__class__":
                # A layer told what it is.
                self.bind(target.value, Kind("instance", kind.of))
                continue
            ours = isinstance(node.value, ast.Call) and is_our_class(node.value.func)
            self.bind(target, kind, by_name=not ours)
            self.visit(target)

    def bind(self, target: ast.expr, kind: Kind, *, by_name: bool = True) -> None:
        if not isinstance(target, ast.Name):
            return
        if kind == UNKNOWN and by_name:
            kind = self.by_name(target.id)
        self.scopes[-1][target.id] = kind

    def of_parameter(self, argument: ast.arg) -> Kind:
        if argument.arg.lstrip("_") == MODULE:
            return MODULE_KIND
        annotation = ast.unparse(argument.annotation) if argument.annotation else "Any"
        return self.by_name(argument.arg) if annotation == "Any" else UNKNOWN

    def by_name(self, name: str) -> Kind:
        name = name.lstrip("_")
        if name == MODULE:
            return MODULE_KIND
        owner = VARIABLES.get(name)
        found = getattr(self.trt, owner, None) if owner else None
        return Kind("instance", found) if found is not None else UNKNOWN

    # What expressions are.

    def kind(self, node: ast.expr) -> Kind:
        if isinstance(node, ast.Name):
            return next(
                (scope[node.id] for scope in reversed(self.scopes) if node.id in scope), UNKNOWN
            )
        if isinstance(node, ast.Attribute):
            return self.kind_of_attribute(node)
        if isinstance(node, ast.Call):
            return self.kind_of_call(node)
        return UNKNOWN

    def kind_of_attribute(self, node: ast.Attribute) -> Kind:
        owner = self.kind(node.value)
        if owner.what not in ("module", "class", "instance"):
            return self.by_name(node.attr)
        found = static(self.trt if owner.what == "module" else owner.of, node.attr)
        if inspect.isclass(found):
            return Kind("class", found)
        if isinstance(found, property):
            return self.returned(signatures(found.fget))
        if callable(found):
            return Kind("callable", found, bound=owner.what == "instance")
        is_member = owner.what == "class" and found is not None
        return Kind("instance", type(found)) if is_member else UNKNOWN

    def kind_of_call(self, node: ast.Call) -> Kind:
        called = self.kind(node.func)
        if called.what == "class":
            return Kind("instance", called.of)
        return self.returned(signatures(called.of)) if called.what == "callable" else UNKNOWN

    def returned(self, overloads: list[tuple[list[Parameter], str]]) -> Kind:
        names = {last(result) for _, result in overloads}
        found = getattr(self.trt, names.pop(), None) if len(names) == 1 else None
        return Kind("instance", found) if inspect.isclass(found) else UNKNOWN

    # What is checked.

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self.kind(node.value)
        if owner.what not in ("module", "class", "instance") or node.attr == "__class__":
            return
        name = f"{owner.of.__name__}.{node.attr}" if owner.of else node.attr
        target = self.trt if owner.what == "module" else owner.of
        if not hasattr(target, node.attr):
            self.problem(node, f"{name} does not exist")
            return
        self.findings.uses.add(name)
        found = static(target, node.attr)
        writes = isinstance(node.ctx, ast.Store)
        if writes and not (isinstance(found, property) and found.fset):
            self.problem(node, f"{name} cannot be set")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            if self.kind(node.args[0]).what != "unknown":
                self.problem(node, f"{node.func.id} hides which member is used")
            return
        called = self.kind(node.func)
        if called.what == "class":
            overloads, bound = signatures(called.of.__init__), True
        elif called.what == "callable":
            overloads, bound = signatures(called.of), called.bound
        else:
            return
        faults = [self.fault(node, parameters, bound=bound) for parameters, _ in overloads]
        if faults and all(faults):
            self.problem(node, f"{ast.unparse(node.func)}: {faults[0]}")

    def fault(self, node: ast.Call, parameters: list[Parameter], *, bound: bool) -> str:
        """What is wrong with a call by one signature; empty if nothing."""
        expected = parameters[1:] if bound else parameters
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            return ""
        if len(node.args) > len(expected):
            return f"takes {len(expected)} arguments, {len(node.args)} are given"
        given = dict(zip((p.name for p in expected), node.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        by_name = {parameter.name: parameter for parameter in expected}
        if strange := set(given) - set(by_name):
            return f"takes no {strange.pop()!r}"
        missing = [p.name for p in expected if p.required and p.name not in given]
        if missing:
            return f"needs {missing[0]!r}"
        for name, value in given.items():
            wanted = getattr(self.trt, last(by_name[name].type_name), None)
            kind = self.kind(value)
            if not inspect.isclass(wanted) or kind.what != "instance":
                continue
            if not issubclass(kind.of, wanted):
                return f"{name!r} is a {wanted.__name__}, not a {kind.of.__name__}"
        return ""

    def check_overrides(self, node: ast.ClassDef, base: Any) -> None:
        for method in node.body:
            if not isinstance(method, ast.FunctionDef) or method.name.startswith("__"):
                continue
            overloads = signatures(getattr(base, method.name, None))
            name = f"{base.__name__}.{method.name}"
            if not overloads:
                self.problem(method, f"{name} does not exist to be overridden")
            elif len(overloads[0][0]) != len(method.args.args):
                self.problem(method, f"{name} is overridden with other arguments")
            else:
                self.findings.uses.add(name)

    def problem(self, node: ast.stmt | ast.expr, text: str) -> None:
        self.findings.problems.append(f"{self.source}:{node.lineno}: {text}")


def static(owner: Any, name: str) -> Any:
    """The member as it stands in the class, so that properties are not asked."""
    return inspect.getattr_static(owner, name, None)


def is_our_class(function: ast.expr) -> bool:
    return isinstance(function, ast.Name) and function.id[:1].isupper()


def last(type_name: str) -> str:
    """``ITensor`` of ``tensorrt.tensorrt.ITensor``, and of the parser's C++ spelling."""
    name = re.split(r"\.|::", type_name.strip())[-1]
    return {"IParserError": "ParserError"}.get(name, name)


def signatures(function: Any) -> list[tuple[list[Parameter], str]]:
    """Parameters and result of each overload, read from a pybind11 docstring."""
    text = getattr(function, "__doc__", None) or ""
    found = []
    for line in text.splitlines():
        match = re.match(r"(?:\d+\. )?\w*\((.*)\) -> (.+)$", line.strip())
        if match and match[1] != "*args, **kwargs":
            found.append(([parameter(part) for part in split(match[1])], match[2]))
    return found


def parameter(text: str) -> Parameter:
    name, _, rest = text.partition(":")
    type_name, _, default = rest.partition(" = ")
    return Parameter(name.strip(), type_name.strip(), required=not default)


def split(text: str) -> list[str]:
    """Split at the commas that stand in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([<") - (character in ")]>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def read(trt: ModuleType, sources: list[Path]) -> Findings:
    """Check sources against a loaded module."""
    findings = Findings()
    for path in sources:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        Reader(trt, path.name, findings).visit(tree)
    return findings


def main(backend: str, *sources: str) -> None:
    from hrvit_deploy.bindings import tensorrt_
    from hrvit_deploy.options import Backend

    trt = tensorrt_.load(Backend(backend))
    findings = read(trt, [Path(source) for source in sources])
    report = {
        "version": tensorrt_.version_of(trt),
        "uses": sorted(findings.uses),
        "problems": findings.problems,
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
