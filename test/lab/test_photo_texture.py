"""A mesh coloured from a picture: what was seen comes back, the rest is skin of the same hand."""

import numpy as np
import pytest

from dhpe_lab.rendering import Lights, Skin, render_hand
from dhpe_lab.rendering.photo_texture import photo_skin
from dhpe_lab.rendering.skin import srgb_to_linear
from dhpe_lab.rendering.texels import texels_of
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path

COLOR = np.array([0.45, 0.28, 0.2])


@pytest.fixture(scope="module")
def mesh():
    """The open hand, palm to the viewer, and the linear albedo of its vertices: thumb paler."""
    model = HandModel(hand_model_path())
    rest = model.v_template.double().numpy()
    vertices = (rest - (rest.min(0) + rest.max(0)) / 2) / 0.13
    upright = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    thumb = np.clip(rest[:, 2] / 0.05, 0, 1)[:, None]
    return vertices @ upright.T, model.triangles.numpy(), COLOR * (1 + 0.4 * thumb)


def lights(direction=(0.0, 0.0, -1.0), ambient=0.5):
    toward = np.array([direction]) / np.linalg.norm(direction)
    surrounding = np.full(3, ambient)
    return Lights(toward, np.full((1, 3), 0.5), np.array([0.0, -1, 0]), surrounding, surrounding)


def photograph(mesh, light, background=0.9):
    vertices, triangles, albedo = mesh
    skin = Skin(albedo.astype(np.float32), np.zeros(len(albedo), np.float32), grain=0.0)
    picture = render_hand(vertices, triangles, 224, skin, light)
    share = picture.mask[..., None]
    image = picture.rgb * share + background * (1 - share)
    return (image * 255 + 0.5).astype(np.uint8)


def towards_viewer(mesh, detail):
    """Texels on the palm's side, and the albedo of all."""
    vertices, triangles, albedo = mesh
    texels = texels_of(triangles, len(vertices), detail)
    return texels.spread(vertices)[:, 2] < 0, texels.spread(albedo)


def test_the_picture_comes_back_from_where_it_was_taken(mesh):
    vertices, triangles, _ = mesh
    image = photograph(mesh, lights())
    skin = photo_skin(image, vertices, triangles)
    again = render_hand(vertices, triangles, 224, skin, lights())
    inside = again.mask == 1
    difference = np.abs(again.rgb[inside] - image[inside] / 255.0)
    assert np.median(difference) < 0.04 and np.quantile(difference, 0.95) < 0.12


def test_the_far_side_gets_the_colour_of_the_near_one(mesh):
    vertices, triangles, _ = mesh
    skin = photo_skin(photograph(mesh, lights()), vertices, triangles, detail=2)
    near, truth = towards_viewer(mesh, 2)
    hue = skin.albedo / skin.albedo.sum(1, keepdims=True)
    np.testing.assert_allclose(hue, truth / truth.sum(1, keepdims=True), atol=0.03)
    ratio = np.log(skin.albedo.mean(1) / truth.mean(1))
    assert abs(np.median(ratio[near]) - np.median(ratio[~near])) < 0.15
    assert ratio.std() < 0.2  # the paler thumb is paler on both sides


def test_light_from_one_side_is_taken_out(mesh):
    vertices, triangles, _ = mesh
    near, truth = towards_viewer(mesh, 2)
    image = photograph(mesh, lights((-1.0, 0.0, -0.7), ambient=0.25))
    skin = photo_skin(image, vertices, triangles, detail=2)
    points = texels_of(triangles, len(vertices), 2).spread(vertices)[near]
    columns, rows = np.round((points[:, :2] + 1) * 112 - 0.5).astype(int).T
    lit = srgb_to_linear(image[rows, columns] / 255).mean(1)
    before, after = (np.log(x / truth[near].mean(1)) for x in (lit, skin.albedo[near].mean(1)))
    assert after.std() < 0.7 * before.std()


def test_a_mesh_beside_the_hand_does_not_take_the_background(mesh):
    vertices, triangles, _ = mesh
    image = photograph(mesh, lights())
    image[(image == image[0, 0]).all(2)] = (20, 60, 220)
    moved = vertices + np.array([0.04, 0.0, 0.0])  # 4.5 pixels, half a finger
    skin = photo_skin(image, moved, triangles)
    red, _, blue = skin.albedo.T
    assert (blue < red).mean() > 0.97


def test_it_does_not_depend_on_chance(mesh):
    vertices, triangles, _ = mesh
    image = photograph(mesh, lights())
    one, two = (photo_skin(image, vertices, triangles) for _ in range(2))
    np.testing.assert_array_equal(one.albedo, two.albedo)


def test_wrong_pictures_are_named(mesh):
    vertices, triangles, _ = mesh
    with pytest.raises(ValueError, match="uint8"):
        photo_skin(np.zeros((8, 8, 3)), vertices, triangles)
    with pytest.raises(ValueError, match="shows nothing of the mesh"):
        photo_skin(np.zeros((64, 64, 3), np.uint8), vertices + 5.0, triangles)
