from __future__ import annotations

import numpy as np
import pytest

from pellucid.data.phantom_anatomy import Chest, Pose, around, cloud, draw_patient, edge

POSE = Pose(rotation=0.1, scale=(0.9, 1.05), shift=(0.08, -0.05), lean=0.01, breath=0.02, air=(0.4, 0.42))


def test_a_point_of_the_patient_lies_on_the_film_where_the_pixels_say_so() -> None:
    chest = Chest(draw_patient(np.random.default_rng(0)), POSE, 200)
    for row, column in ((0, 0), (30, 170), (199, 60)):
        x, y = POSE.on_film(float(chest.u[row, column]), float(chest.v[row, column]))
        assert (x * 200, y * 200) == pytest.approx((column + 0.5, row + 0.5), abs=1e-3)


def test_a_finer_film_shows_the_same_chest() -> None:
    patient = draw_patient(np.random.default_rng(1))
    coarse, fine = (Chest(patient, POSE, size).attenuation() for size in (128, 512))
    reduced = fine.reshape(128, 4, 128, 4).mean(axis=(1, 3))
    # Vessels and cortices are about a pixel wide on the coarse film, so some pixels differ.
    assert np.quantile(np.abs(reduced - coarse), 0.9) < 0.02


def test_lungs_are_darker_than_everything_around_them() -> None:
    for seed in range(5):
        patient = draw_patient(np.random.default_rng(seed))
        chest = Chest(patient, Pose(0.0, (1.0, 1.0), (0.0, 0.0), 0.0, 0.0, (0.4, 0.4)), 96)
        attenuation = chest.attenuation()
        heart = np.hypot(chest.u - 0.08, chest.v - patient.dome[0] + 0.15) < 0.08
        abdomen = (chest.below > 0.15) & (chest.x < 0.5)
        lungs = chest.lungs > 0.9
        assert np.quantile(attenuation[lungs], 0.95) < np.quantile(attenuation[heart | abdomen], 0.05)
        assert 0.15 < (chest.lungs > 0.5).mean() < 0.4


def test_patients_differ_and_are_reproducible() -> None:
    assert draw_patient(np.random.default_rng(3)) == draw_patient(np.random.default_rng(3))
    assert draw_patient(np.random.default_rng(3)) != draw_patient(np.random.default_rng(4))


def test_cloud_has_unit_variance_everywhere_and_is_smooth() -> None:
    rng = np.random.default_rng(0)
    clouds = np.stack([cloud(rng, (40, 56), 5) for _ in range(1500)])
    assert clouds.shape == (1500, 40, 56)
    assert np.abs(clouds.mean(axis=0)).max() < 0.12
    assert np.abs(clouds.std(axis=0) - 1).max() < 0.1
    # A cell is 8 rows high: neighbours hardly differ, far pixels have nothing in common.
    assert np.abs(np.diff(clouds, axis=1)).mean() < 0.2
    assert abs(np.corrcoef(clouds[:, 2, 5], clouds[:, 37, 50])[0, 1]) < 0.1


def test_edge_is_half_at_the_edge_and_settled_beyond_its_width() -> None:
    distances = np.array([-1.0, -0.1, 0.0, 0.1, 1.0], np.float32)
    assert edge(distances, 0.2).tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)


@pytest.mark.parametrize("centre", [(0.5, 0.5), (0.02, 0.97), (1.2, 0.5), (-0.4, -0.4)])
def test_around_holds_every_pixel_within_reach(centre: tuple[float, float]) -> None:
    size, reach = 40, 7.3
    rows, columns, distance = around(size, centre, reach)
    ys, xs = np.indices((size, size)) + 0.5
    truth = np.hypot(ys - centre[1] * size, xs - centre[0] * size)
    assert truth[rows, columns] == pytest.approx(distance, abs=1e-4)
    found = np.zeros((size, size), bool)
    found[rows, columns] = True
    assert not ((truth < reach - 1) & ~found).any()
