from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fileproc.operations import BadInput
from films import film, made, tone
from samples import Ran, run


def drawn(folder: Path, data: bytes, name: str = "tone.wav", **params: Any) -> Ran:
    return run("audio.waveform", folder, data, name, **params)


def numbers(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.work.outputs[0].path.read_text())
    return found


def heights(image: Image.Image) -> list[int]:
    """Of the wave in each column."""
    alpha = image.getchannel("A")
    columns = alpha.transpose(Image.Transpose.ROTATE_90).get_flattened_data()
    values = list(columns)
    rows = [values[i : i + image.height] for i in range(0, len(values), image.height)]
    return [sum(1 for value in row if value) for row in reversed(rows)]


def test_peaks_are_those_of_the_sound(tmp_path: Path) -> None:
    found = numbers(drawn(tmp_path, tone(db=-6), points=30))
    assert abs(found["duration_s"] - 3) < 0.001
    assert found["points"] == len(found["peaks"]) == 30
    for low, high in found["peaks"]:
        assert abs(high - 0.501) < 0.02
        assert abs(low + 0.501) < 0.02


def test_each_part_has_its_own_peak(tmp_path: Path) -> None:
    """Loud for a second, silent for a second, half as loud for a second."""
    source = "aevalsrc=sin(2*PI*440*t)*(0.8*lt(t\\,1)+0.4*gte(t\\,2)):s=44100:d=3"
    data = made("wav", "-f", "lavfi", "-i", source)
    ran = drawn(tmp_path, data, points=30, width=300, height=100)
    tops = [high for _, high in numbers(ran)["peaks"]]
    for expected, part in ((0.8, tops[1:9]), (0.0, tops[11:19]), (0.4, tops[21:29])):
        assert all(abs(value - expected) < 0.03 for value in part)
    tall = heights(ran.image(1))
    assert len(tall) == 300
    for expected, middle in ((80, tall[50]), (1, tall[150]), (40, tall[250])):
        assert abs(middle - expected) <= 3


def test_the_picture_can_be_stretched_and_coloured(tmp_path: Path) -> None:
    look: dict[str, Any] = {"colour": "#ff0000", "background": "#0000ff", "scale": True}
    ran = drawn(tmp_path, tone(db=-30), output="png", width=50, height=41, **look)
    assert [output.name for output in ran.work.outputs] == ["tone.png"]
    image = ran.image()
    assert image.size == (50, 41)
    assert image.getpixel((25, 20)) == (255, 0, 0, 255)
    assert image.getpixel((25, 1)) == (255, 0, 0, 255)


def test_a_very_short_sound_has_fewer_points(tmp_path: Path) -> None:
    ran = drawn(tmp_path, tone(seconds=0.1), points=1000, width=1000)
    found = numbers(ran)
    assert 15 <= found["points"] <= 25
    assert ran.image(1).size[0] == 1000


@pytest.mark.parametrize(("suffix", "name"), [("mp4", "film.mp4"), ("webm", "film.webm")])
def test_the_sound_of_a_film_is_drawn(suffix: str, name: str, tmp_path: Path) -> None:
    found = numbers(drawn(tmp_path, film(suffix), name, output="json"))
    assert abs(found["duration_s"] - 3) < 0.06
    assert max(high for _, high in found["peaks"]) > 0.1


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        drawn(tmp_path, film(sound=False), "film.mp4")
    assert caught.value.job_code == "stream_missing"
