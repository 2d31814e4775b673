from atnet_jax.preprocessing.annotation import Clip


def test_key_names_the_clip():
    clip = Clip("casme2", "sub01", "EP02_01f", 1, "happiness", 46, 59, 86, 200.0, {})
    assert clip.key == "casme2/sub01/EP02_01f"
