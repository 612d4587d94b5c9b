"""Types, settings classes, explanations; secrets are shown nowhere."""

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, model_validator

from satchel import ConfigurationError
from satchel.environment import Environment, InvalidSettingError, MissingSettingError, Mode

HIDDEN = "hunter2"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "5", 5),
        (float, "1.5", 1.5),
        (str, "x", "x"),
        (Path, "/tmp", Path("/tmp")),  # noqa: S108  # a path is data here
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Literal["a", "b"], "a", "a"),
        (int | None, "3", 3),
        *[(bool, word, True) for word in ("true", "YES", "On", " 1 ")],
        *[(bool, word, False) for word in ("false", "no", "OFF", "0")],
    ],
)
def test_types(kind, text, value):
    found = Environment({"A": text}, schema={"A": kind})["A"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"), [(bool, "nope"), (bool, ""), (bool, "2"), (bool, "t"), (int, "x"), (int, ""), (list[int], "1,2")]
)
def test_what_does_not_fit_is_refused_by_name(kind, text):
    with pytest.raises(InvalidSettingError, match=r"^A is no "):
        Environment({"A": text}, schema={"A": kind})["A"]


def test_a_type_that_nobody_knows_is_refused():
    class Unknown:
        pass

    with pytest.raises(ConfigurationError, match="cannot validate"):
        Environment({"A": "1"}, schema={"A": Unknown})["A"]


def refuse(value: str) -> str:
    raise ValueError(f"I do not like {value}")


def test_a_validators_own_words_are_not_repeated():
    env = Environment(
        {"API_KEY": HIDDEN, "A": HIDDEN}, schema=dict.fromkeys(["API_KEY", "A"], Annotated[str, AfterValidator(refuse)])
    )
    for name in ("API_KEY", "A"):
        with pytest.raises(InvalidSettingError) as caught:
            env[name]
        error = caught.value
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        assert HIDDEN not in str(error)
        assert HIDDEN not in shown
        assert error.__cause__ is error.__context__ is None


def test_secrets_are_masked_wherever_they_are_shown():
    env = Environment(
        {"API_KEY": HIDDEN, "URL": "x://u:${API_KEY}@h", "LINK": "${URL}", "PLAIN": "p", "DEV_DB_PASSWORD": HIDDEN},
        mode=Mode.DEV,
    )
    shown = [repr(env), str(env.variables), repr(env.secrets), env.format_debug(), str(env.filter("*"))]
    shown += [str(env.explain(name)) for name in env]
    shown += [repr(env.snapshot()), str(env.filter_with_predicate(lambda *_: True)), repr(env.explain("URL"))]
    assert HIDDEN not in "".join(shown)
    assert env.secrets == {
        "API_KEY": HIDDEN, "URL": f"x://u:{HIDDEN}@h", "LINK": f"x://u:{HIDDEN}@h", "DB_PASSWORD": HIDDEN,
    }  # fmt: skip
    assert env.non_secrets == {"PLAIN": "p"}
    assert env.filter("*hunter*", search_in="values") == {}
    assert env.filter("P*", "API*", search_in="both") == {"PLAIN": "p", "API_KEY": "***"}
    seen = []
    env.filter_with_predicate(lambda name, text: seen.append(text))
    assert HIDDEN not in "".join(seen)


def test_own_patterns_of_secrets():
    env = Environment({"PIN": "1", "API_KEY": "2"}, secrets=("PIN",))
    assert (env.secrets, env.non_secrets) == ({"PIN": "1"}, {"API_KEY": "2"})


def test_where_a_value_comes_from(tmp_path):
    path = tmp_path / ".env"
    path.write_text("PORT=1\nDEV_PORT=2\nBAD=${NONE}\n")
    env = Environment(path, {"PORT": "3"}, mode=Mode.DEV)
    told = env.explain("PORT")
    assert (told.value, told.source, told.spelling) == ("3", "a mapping", "PORT")
    assert told.overridden == ((str(path), "DEV_PORT"), (str(path), "PORT"))
    assert str(told) == f"PORT = 3\n  from a mapping as PORT\n  over {path} as DEV_PORT\n  over {path} as PORT"
    assert str(env.explain("NOTHING")) == "NOTHING is not set"
    assert "refers to NONE" in str(env.explain("BAD"))
    assert "PORT = 3    [a mapping]" in env.format_debug()
    env.set({"PORT": "4"})
    assert env.explain("PORT").source == "changes"


@dataclass
class Service:
    port: int
    debug: bool = False
    tags: list[str] = field(default_factory=list)


class Model(BaseModel):
    port: int
    api_key: str = Field(default="", min_length=3)

    @model_validator(mode="after")
    def check(self):
        if self.port == 13:
            raise ValueError(f"{self.port} {self.api_key}")
        return self


def test_classes_of_settings():
    env = Environment({"PORT": "1", "DEV_PORT": "5", "DEBUG": "yes", "TAGS": '["a"]', "API_KEY": HIDDEN}, mode=Mode.DEV)
    assert env.to_settings(Service) == Service(5, debug=True, tags=["a"])
    assert env.to_settings(Model) == Model(port=5, api_key=HIDDEN)
    assert Environment({"PORT": "1"}).to_settings(Service) == Service(1)
    with pytest.raises(MissingSettingError, match="Service needs PORT"):
        Environment().to_settings(Service)
    with pytest.raises(InvalidSettingError, match="PORT is no int"):
        Environment({"PORT": "x"}).to_settings(Service)
    with pytest.raises(ConfigurationError, match="dataclass or a pydantic model"):
        env.to_settings(dict)


def test_a_class_that_refuses_its_settings_shows_no_secret():
    with pytest.raises(InvalidSettingError, match="refuses the variables together") as caught:
        Environment({"PORT": "13", "API_KEY": HIDDEN}).to_settings(Model)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert HIDDEN not in shown
