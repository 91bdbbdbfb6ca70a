"""Settings: one home, refused by name when wrong, and the same from every side."""

import pytest

from dhpe_ros.config import Config, RefinementConfig


def test_defaults_survive_a_round_trip():
    config = Config()
    assert Config.from_mapping(config.as_mapping()) == config


def test_nested_and_dotted_mappings_mean_the_same():
    nested = Config.from_mapping({"refinement": {"steps": 7}, "model": {"profile": "full"}})
    dotted = Config.from_mapping({"refinement.steps": 7, "model.profile": "full"})
    assert nested == dotted
    assert nested.refinement.steps == 7


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("refinement.steps", -1, "refinement.steps must be >= 0, got -1"),
        ("refinement.steps", 2.5, "refinement.steps must be a int"),
        ("refinement.steps", True, "refinement.steps must be a int"),
        ("refinement.step_size", float("nan"), "refinement.step_size must be finite"),
        ("refinement.step_size", 10**400, "refinement.step_size must be finite"),
        ("model.profile", "huge", "model.profile must be one of lite, full, got 'huge'"),
        ("tracking.min_score", 1.5, "tracking.min_score must be <= 1.0"),
        ("tracking.box", "1,2,3", "tracking.box: a box is 'x,y,width,height'"),
        ("tracking.box", "0,0,-5,5", "positive width"),
        ("refinement.step", 3, "did you mean refinement.steps"),
        ("max_age", -1.0, "^max_age must be >= 0"),
        ("node.max_age", 1.0, "unknown setting 'node.max_age'; did you mean max_age"),
        ("nonsense", 3, "unknown setting 'nonsense'"),
    ],
)
def test_bad_values_are_refused_by_name(name, value, said):
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        Config().replace({name: value})


def test_an_integer_passes_for_a_float():
    assert Config().replace({"max_age": 2}).node.max_age == 2.0


def test_every_setting_says_what_it_is():
    for name, field, _ in Config().items():
        assert field.metadata["description"], name


@pytest.mark.parametrize(
    "text",
    [
        "refinement: {steps: 3}\n",
        "tracking:\n  # box: 1,2,3,4\nrefinement: {steps: 3}\n",
        "/**:\n  ros__parameters:\n    use_sim_time: false\n    refinement: {steps: 3}\n",
        "hand:\n  ros__parameters:\n    refinement.steps: 3\n",
        "/**:\n  ros__parameters:\n    refinement.steps: 7\n"
        "/left/hand:\n  ros__parameters:\n    refinement.steps: 3\n"
        "hand_collision:\n  ros__parameters:\n    shape: box\n",
        "hand:\n  ros__parameters:\n    refinement.steps: 3\n"
        "    qos_overrides:\n      /hand/overlay:\n        publisher:\n          depth: 2\n",
    ],
)
def test_yaml_of_the_command_line_and_of_ros(tmp_path, text):
    path = tmp_path / "hand.yaml"
    path.write_text(text)
    assert Config.from_yaml(path).refinement.steps == 3


@pytest.mark.parametrize(
    "text",
    [
        "max_age: 0.5\n",
        "node: {max_age: 0.5}\n",
        "node.max_age: 0.5\n",
        "/**:\n  ros__parameters:\n    max_age: 0.5\n",
        "/**:\n  ros__parameters:\n    max_age: 0.5\n    refinement: {steps: 50}\n",
    ],
)
def test_the_node_s_own_settings_need_no_section(tmp_path, text):
    path = tmp_path / "hand.yaml"
    path.write_text(text)
    assert Config.from_yaml(path) == Config().replace({"max_age": 0.5})


def test_a_bad_yaml_names_the_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("refinement: &all\n  steps: *all\n")
    with pytest.raises(ValueError, match=r"bad\.yaml: "):
        Config.from_yaml(path)
    path.write_text("refinement: {stops: 3}\n")
    with pytest.raises(ValueError, match=r"bad\.yaml: unknown setting 'refinement\.stops'"):
        Config.from_yaml(path)


def test_the_papers_objective_has_three_unit_weights_and_nothing_else():
    paper = vars(RefinementConfig.paper())
    weights = {name: value for name, value in paper.items() if name.endswith("_weight") and value}
    assert weights == {"joints_weight": 1.0, "features_weight": 1.0, "laplacian_weight": 1.0}
    assert (paper["optimizer"], paper["steps"], paper["outlier_distance"]) == ("adam", 50, 0.0)
    assert not paper["align_camera"] and not paper["confidence_weighting"]
