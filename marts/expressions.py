"""Expressions over the columns of a file, such as ``a * b - c``: parsed, checked, written as SQL.

DuckDB parses an expression. Only what is listed here is allowed: no queries, no files, no function that sees more than
its arguments. What DuckDB computes later is written anew from the checked tree, never the text itself.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from marts.names import plain_name

Kind = Literal["number", "text"]
Node = Mapping[str, Any]
_NUMBERS = {"+", "-", "*", "/", "%", "abs", "round", "floor", "ceil", "ceiling", "greatest", "least", "sign", "mod"}
"""Functions and operators of numbers."""
_TEXTS = {
    *("||", "concat", "upper", "lower", "trim", "ltrim", "rtrim", "replace", "substr", "substring", "left", "right"),
    *("split_part", "regexp_replace", "regexp_extract"),
}
_EITHER = {"coalesce", "ifnull", "nullif", "if"}
"""Functions whose arguments have one kind, which is that of their result."""
_OPERATORS = {"+", "-", "*", "/", "%", "||"}
_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_OTHER_OPERATORS = (
    *("OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "COMPARE_IN", "COMPARE_NOT_IN"),
    *("OPERATOR_COALESCE", "OPERATOR_NULLIF"),
)
_CONSTANTS = ("INTEGER", "DECIMAL", "NUMERIC", "FLOAT", "DOUBLE", "STRING", "NULL_LITERAL")
"""Kinds of constants."""
_LONGEST, _DEEPEST = 2000, 50
_NUMBER = "DECIMAL(38, 6)"
"""Type of the columns of numbers: digits after the point of a price, and room for products of several."""
CLOSED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "threads": "1",
}
"""Settings of the database that computes: it sees nothing but the rows."""


@dataclass(frozen=True)
class Expression:
    """A checked expression."""

    text: str
    tree: str
    """As JSON."""
    columns: tuple[str, ...]
    """Names of the columns, as written."""

    def sql(self, names: Mapping[str, str], numbers: Collection[str], wanted: Kind) -> str:
        """Return the expression in SQL. ``names`` are the columns by plain name, ``numbers`` those that are numbers."""
        return _Writer(names, numbers).write(json.loads(self.tree), wanted)


@lru_cache(maxsize=256)
def parsed(text: str) -> Expression:
    """Parse and check an expression. Raise ValueError that names what is not allowed."""
    import duckdb

    if len(text) > _LONGEST:
        raise ValueError(f"the expression is longer than {_LONGEST:,} characters")
    with duckdb.connect(":memory:", config=dict(CLOSED)) as database:
        ((answer,),) = database.execute("SELECT json_serialize_sql(?)", [f"SELECT ({text}\n) FROM rows"]).fetchall()
    tree = json.loads(answer)
    if tree.get("error"):
        raise ValueError(f"{text!r} is not an expression: {tree.get('error_message')}")
    nodes = [statement["node"] for statement in tree["statements"]]
    if len(nodes) != 1 or len(nodes[0].get("select_list", ())) != 1 or nodes[0].get("where_clause"):
        raise ValueError(f"{text!r} is not one expression")
    node = nodes[0]["select_list"][0]
    columns = tuple(dict.fromkeys(_checked(node, text)))
    if not columns:
        raise ValueError(f"{text!r} names no column")
    expression = Expression(text, json.dumps(node), columns)
    if wrong := _type_error(expression):
        raise ValueError(f"{text!r} cannot be computed: {wrong}")
    return expression


def _type_error(expression: Expression) -> str:
    """Return why an expression fits neither columns of numbers nor columns of texts; empty if it fits one of them."""
    import duckdb

    names = {plain_name(name): f"c{place}" for place, name in enumerate(expression.columns)}
    columns = ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in names.values())
    wrong = ""
    ways: tuple[tuple[Collection[str], Kind], ...] = ((names.values(), "number"), ((), "text"), ((), "number"))
    with duckdb.connect(":memory:", config=dict(CLOSED)) as database:
        for numbers, wanted in ways:
            try:
                database.sql(f"SELECT {expression.sql(names, numbers, wanted)} FROM (SELECT {columns})").fetchall()
            except duckdb.Error as error:
                wrong = wrong or first_line(error)
            else:
                return ""
    return wrong


def first_line(error: Exception) -> str:
    """Return what DuckDB says of an expression, without its picture of the place in the SQL that was written for it."""
    return str(error).strip().split("\n")[0]


def _checked(node: Node, text: str, depth: int = 0) -> Iterator[str]:
    """Yield the columns of a tree. Raise ValueError for what is not allowed."""
    if depth > _DEEPEST:
        raise ValueError(f"the expression is nested more than {_DEEPEST} times")
    if refused := _refused(node):
        raise ValueError(f"{refused!r} in {text!r} is not allowed: write an expression over columns")
    if node["class"] == "COLUMN_REF":
        yield node["column_names"][0]
    for child in _children(node):
        yield from _checked(child, text, depth + 1)


def _refused(node: Node) -> str:
    """Return what is not allowed about a node by itself; empty if nothing."""
    match node["class"]:
        case "COLUMN_REF":
            return "" if len(node["column_names"]) == 1 else ".".join(node["column_names"])
        case "CONSTANT":
            return "" if node["literal"]["kind"] in _CONSTANTS else f"a constant of the kind {node['literal']['kind']}"
        case "FUNCTION":
            name = str(node["function_name"]).lower()
            plain = not (node["schema"] or node["catalog"] or node["filter"] or node["distinct"] or _ordered(node))
            return "" if plain and name in _NUMBERS | _TEXTS | _EITHER else name
        case "OPERATOR" | "COMPARISON":
            return "" if node["type"] in (*_COMPARISONS, *_OTHER_OPERATORS) else str(node["type"]).lower()
        case "CASE" | "CONJUNCTION" | "BETWEEN":
            return ""
        case other:
            return str(other).lower()


def _ordered(node: Node) -> bool:
    return bool((node.get("order_bys") or {}).get("orders"))


def _children(node: Node) -> list[Node]:
    match node["class"]:
        case "FUNCTION":
            return [argument["expression"] for argument in node["arguments"]]
        case "OPERATOR" | "CONJUNCTION":
            return list(node["children"])
        case "COMPARISON":
            return [node["left"], node["right"]]
        case "BETWEEN":
            return [node["input"], node["lower"], node["upper"]]
        case "CASE":
            checks = [part for check in node["case_checks"] for part in (check["when_expr"], check["then_expr"])]
            return [*checks, node["else_expr"]]
        case _:
            return []


def _literal(node: Node) -> tuple[str, Kind]:
    """Return a constant in SQL, and its kind."""
    literal = node["literal"]
    match literal["kind"]:
        case "STRING":
            return f"'{_escaped(literal['text'])}'", "text"
        case "NULL_LITERAL":
            return "NULL", "text"
        case _:
            return f"CAST('{_escaped(literal['text'])}' AS {_NUMBER})", "number"


def _escaped(text: str) -> str:
    return text.replace("'", "''")


@dataclass(frozen=True)
class _Writer:
    """Writer of a checked tree as SQL. A column is a number or a text, as its place requires."""

    names: Mapping[str, str]
    numbers: Collection[str]

    def kind(self, node: Node) -> Kind | None:
        """Return the kind of a value; None if its place decides."""
        match node["class"]:
            case "COLUMN_REF":
                return "number" if self._column(node) in self.numbers else None
            case "CONSTANT":
                return _literal(node)[1] if node["literal"]["kind"] != "NULL_LITERAL" else None
            case "FUNCTION":
                name = node["function_name"].lower()
                if name not in _EITHER:
                    return "number" if name in _NUMBERS else "text"
                return self._common(_children(node))
            case "CASE":
                return self._common([*(check["then_expr"] for check in node["case_checks"]), node["else_expr"]])
            case "OPERATOR" if node["type"] in ("OPERATOR_COALESCE", "OPERATOR_NULLIF"):
                return self._common(node["children"])
            case _:
                return None

    def _common(self, nodes: Sequence[Node]) -> Kind | None:
        kinds = [self.kind(node) for node in nodes]
        return "number" if "number" in kinds else "text" if "text" in kinds else None

    def _column(self, node: Node) -> str:
        return self.names[plain_name(node["column_names"][0])]

    def write(self, node: Node, wanted: Kind) -> str:
        match node["class"]:
            case "COLUMN_REF":
                name = '"' + self._column(node).replace('"', '""') + '"'
                return f"TRY_CAST(trim({name}) AS {_NUMBER})" if wanted == "number" else name
            case "CONSTANT":
                return _literal(node)[0]
            case "FUNCTION":
                return self._function(node, wanted)
            case "COMPARISON":
                left, right = self._alike([node["left"], node["right"]])
                return f"({left} {_COMPARISONS[node['type']]} {right})"
            case "BETWEEN":
                value, low, high = self._alike([node["input"], node["lower"], node["upper"]])
                return f"({value} BETWEEN {low} AND {high})"
            case "CONJUNCTION":
                joint = " AND " if node["type"] == "CONJUNCTION_AND" else " OR "
                return f"({joint.join(self.write(child, 'text') for child in node['children'])})"
            case "CASE":
                kind = self.kind(node) or wanted
                checks = "".join(
                    f" WHEN {self.write(check['when_expr'], 'text')} THEN {self.write(check['then_expr'], kind)}"
                    for check in node["case_checks"]
                )
                return f"(CASE{checks} ELSE {self.write(node['else_expr'], kind)} END)"
            case _:
                return self._operator(node, wanted)

    def _alike(self, nodes: Sequence[Node]) -> list[str]:
        kind = self._common(nodes) or "text"
        return [self.write(node, kind) for node in nodes]

    def _function(self, node: Node, wanted: Kind) -> str:
        name = node["function_name"].lower()
        if name in _TEXTS:
            arguments = [self._of_text(child) for child in _children(node)]
        else:
            kind = self.kind(node) or wanted
            arguments = [self.write(child, kind) for child in _children(node)]
        if name == "round" and len(arguments) == 2:
            arguments[1] = f"CAST({arguments[1]} AS INTEGER)"
        if name in _OPERATORS:
            return f"({f' {name} '.join(arguments)})" if len(arguments) > 1 else f"({name}{arguments[0]})"
        return f"{name}({', '.join(arguments)})"

    def _of_text(self, node: Node) -> str:
        """Write an argument of a function of texts: a column as it is written, a constant number as a position."""
        if node["class"] == "COLUMN_REF":
            return self.write(node, "text")
        text = self.write(node, self.kind(node) or "text")
        return f"CAST({text} AS INTEGER)" if node["class"] == "CONSTANT" and self.kind(node) == "number" else text

    def _operator(self, node: Node, wanted: Kind) -> str:
        children = node["children"]
        match node["type"]:
            case "OPERATOR_NOT":
                return f"(NOT {self.write(children[0], 'text')})"
            case "OPERATOR_IS_NULL" | "OPERATOR_IS_NOT_NULL":
                isnt = " NOT" if node["type"] == "OPERATOR_IS_NOT_NULL" else ""
                return f"({self.write(children[0], self.kind(children[0]) or 'text')} IS{isnt} NULL)"
            case "OPERATOR_COALESCE" | "OPERATOR_NULLIF":
                kind = self.kind(node) or wanted
                name = node["type"].removeprefix("OPERATOR_").lower()
                return f"{name}({', '.join(self.write(child, kind) for child in children)})"
            case _:
                value, *others = self._alike(children)
                isnt = "NOT " if node["type"] == "COMPARE_NOT_IN" else ""
                return f"({value} {isnt}IN ({', '.join(others)}))"


def missing_column(expression: Expression, names: Collection[str]) -> str:
    """Return a column of an expression that is not among the names; empty if there is none."""
    plain = {plain_name(name) for name in names}
    return next((name for name in expression.columns if plain_name(name) not in plain), "")
