import inspect
import re
from typing import Any

from index import errors


def tree() -> Any:
    """The tree as the docstring draws it: name to parent, by indentation."""
    parents, path = {}, []
    for indent, name in re.findall(r"^( +)([A-Z]\w+)", errors.__doc__, re.MULTILINE):
        depth = (len(indent) - 4) // 2
        path = [*path[:depth], name]
        parents[name] = path[-2] if depth else "Exception"
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, Exception)
    }
    assert tree() == {name: cls.__base__.__name__ for name, cls in classes.items()}


def test_messages_are_one_line() -> None:
    for error in (
        errors.NoData("reason"),
        errors.SchemaOutdated("9999", "0001", newer=True),
        errors.UnknownCorpus("a\nb"),
        errors.ForeignSpace("a" * 64, "b" * 64),
        errors.TruthDamaged("reason"),
    ):
        assert "\n" not in str(error)
