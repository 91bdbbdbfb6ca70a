"""YAML of users: without end, very deep, very long, mutated."""

import pytest
from fuzzing import fuzz, in_child

from dhpe_lab.commands.settings_options import read_changes
from dhpe_ros.config import Config
from dhpe_ros.files.yaml_text import load_yaml

SEEDS = (
    b"refinement: {steps: 3}\ntracking:\n  box: '0,0,60,60'\n  min_score: 0.5\n",
    b"/**:\n  ros__parameters:\n    max_age: 0.5\n    refinement:\n      steps: 7\n",
    b"# nothing\n",
    b'media.max_megapixels: 1.5 # a comment\nnode: {frame_id: "\\u00e9"}\n',
)
HOSTILE = {
    "aliases are not taken": "a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "aliases are not": "refinement: &r\n  steps: *r\n",
    "nested deeper than 20": "[" * 50_000,
    "deeper than 20": "{a: " * 20_000,
    "deeper": "\n".join(" " * n + "a:" for n in range(200)),
    "longer than 100000 characters": "\n".join(f"p{n}: {n}" for n in range(100_000)),
    "unknown setting 'p0'": "\n".join(f"p{n}: {n}" for n in range(5000)),
    "not readable as YAML": "!!python/object/apply:os.system ['true']",
    "month must be": "2000-99-99",
}


@pytest.mark.parametrize("said", HOSTILE)
def test_what_no_settings_need_is_refused_with_the_file_s_name(tmp_path, said):
    path = tmp_path / "hand.yaml"
    path.write_text(HOSTILE[said])
    with pytest.raises(ValueError, match=rf"hand\.yaml: .*{said}") as caught:
        Config.from_yaml(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_without_end_is_refused():
    with pytest.raises(ValueError, match=r"/dev/zero: longer than 100000 characters"):
        Config.from_yaml("/dev/zero")


def test_values_of_the_command_line_are_bounded_too():
    with pytest.raises(ValueError, match=r"refinement\.steps: .*deeper than 20"):
        read_changes(["refinement.steps=" + "[" * 5000], Config().as_mapping())


def test_what_is_written_twenty_deep_is_read():
    assert load_yaml("[" * 20 + "]" * 20)


def fuzz_settings():
    fuzz(Config.from_yaml, SEEDS, ValueError, rounds=600)


def test_mutated_settings_are_read_or_refused():
    in_child("test_fuzz_yaml.fuzz_settings()")
