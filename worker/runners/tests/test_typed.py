"""Plain values become what type hints ask for."""
import json

from harness import Case

HINTED = """
    import dataclasses, datetime, enum, pathlib
    from typing import Dict, List, Optional, Tuple

    class Color(enum.Enum):
        RED = "red"
        BLUE = 2

    @dataclasses.dataclass
    class Inner:
        x: int
        when: datetime.date = datetime.date(2020, 1, 1)

    @dataclasses.dataclass
    class Config:
        lr: float
        inner: Inner
        many: List[Inner] = dataclasses.field(default_factory=list)
        named: Dict[str, Optional[Inner]] = dataclasses.field(default_factory=dict)

    def config(c: Config): return [type(c.lr).__name__, c.inner.when.year, len(c.many), c.many[0].x, c.named["a"]]
    def later(c: "Optional[Inner]" = None): return type(c).__name__
    def color(c: Color): return c.name
    def path(p: pathlib.Path): return p.name
    def pair(p: Tuple[int, Color]): return [type(p).__name__, p[1].name]
    def broken(a: "Missing", b: Color): return [a, b]
    def plain(n: int, s: str): return [n, s]

    class Model:
        scale = 10
        @staticmethod
        def static(a): return a
        @classmethod
        def made(cls, a): return cls.scale * a
"""


class Typed(Case):
    def call(self, function, code=0, **args):
        self.write(f__py=HINTED)
        return self.step("f:" + function, [[name, "", json.dumps(value)] for name, value in args.items()], code=code)

    def test_nested_dataclasses(self):
        given = {"lr": 1, "inner": {"x": 2}, "many": [{"x": 3, "when": "2021-05-06"}], "named": {"a": None}}
        self.assertEqual(self.call("config", c=given).json(), ["float", 2020, 1, 3, None])

    def test_enums_paths_tuples_and_optionals(self):
        self.assertEqual(self.call("color", c="red").json(), "RED")
        self.assertEqual(self.call("color", c=2).json(), "BLUE")
        self.assertEqual(self.call("path", p="a/b.csv").json(), "b.csv")
        self.assertEqual(self.call("pair", p=[1, "RED"]).json(), ["tuple", "RED"])
        self.assertEqual(self.call("later", c={"x": 1}).json(), "Inner")
        self.assertEqual(self.call("later", c=None).json(), "NoneType")

    def test_a_wrong_value_names_argument_place_and_shape(self):
        for function, value, says in [
            ("config", {"lr": 1, "inner": {"y": 2}}, "`c.inner`: Inner has no field `y`"),
            ("config", {"lr": 1}, "the field `inner` of Config is missing"),
            ("config", [1, 2], "must be Config, got a list of 2 items"),
            ("color", "green", "must be one of 'red', 2, got 'green'"),
        ]:
            done = self.call(function, code=1, c=value)
            self.assertIn(says, done.err)
            self.assertNotIn("Traceback", done.err)

    def test_hints_that_cannot_be_resolved_say_nothing(self):
        self.assertEqual(self.call("broken", a=1, b="red").json(), [1, "red"])
        self.assertEqual(self.call("plain", n=1, s="x").json(), [1, "x"])

    def test_static_and_class_methods(self):
        self.assertEqual(self.call("Model.static", a=4).json(), 4)
        self.assertEqual(self.call("Model.made", a=4).json(), 40)
